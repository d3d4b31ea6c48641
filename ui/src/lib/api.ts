import { session } from './session.svelte'
import type { Problem } from './types'

/** What the server said when it did not do as asked. */
export class ApiError extends Error {
  readonly status: number
  readonly problems: Problem[]
  constructor(status: number, message: string, problems: Problem[]) {
    super(message)
    this.status = status
    this.problems = problems
  }
}

// A page that refreshes itself must not keep a session alive for ever: only
// requests after someone touched the page count as use.
let touched = true
for (const type of ['pointerdown', 'keydown', 'wheel'] as const) {
  addEventListener(type, () => (touched = true), { passive: true, capture: true })
}

async function request<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (!touched) headers['X-Gabion-Passive'] = '1'
  touched = false
  if (method !== 'GET' && session.csrf) headers['X-Gabion-CSRF'] = session.csrf
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  let response: Response
  try {
    response = await fetch('/api/v1' + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      signal,
    })
  } catch (cause) {
    if (signal?.aborted) throw cause
    throw new ApiError(0, 'The console does not answer. Is Gabion still running on this machine?', [])
  }
  if (response.ok) {
    return (response.status === 204 ? undefined : await response.json()) as T
  }
  const answer = await response.json().catch(() => ({}))
  if (response.status === 401 && !path.startsWith('/signin')) session.end()
  const problems = ((answer.errors ?? []) as { message: string; location?: string; value?: unknown }[]).map((e) =>
    e.value && typeof e.value === 'object' ? (e.value as Problem) : { severity: 'error', message: `${e.location ?? ''} ${e.message}`.trim() },
  )
  throw new ApiError(response.status, answer.detail || `The console answered ${response.status}.`, problems)
}

export const api = {
  get: <T>(path: string, signal?: AbortSignal) => request<T>('GET', path, undefined, signal),
  post: <T>(path: string, body: unknown = undefined) => request<T>('POST', path, body),
  patch: <T>(path: string, body: unknown) => request<T>('PATCH', path, body),
  delete: (path: string) => request<void>('DELETE', path),
}

/** One segment of a path. */
export const seg = encodeURIComponent

export const message = (e: unknown): string => (e instanceof Error ? e.message : String(e))
