import { untrack } from 'svelte'
import { ApiError } from './api'

/** Something read from the server: its value, the last failure, and whether it is on its way. */
export class Resource<T> {
  value = $state.raw<T | undefined>(undefined)
  error = $state.raw<ApiError | undefined>(undefined)
  busy = $state(true)
  #abort?: AbortController
  #fetch: (signal: AbortSignal) => Promise<T>

  constructor(fetch: (signal: AbortSignal) => Promise<T>) {
    this.#fetch = fetch
  }

  /** Reads again. What was read before stays until the answer is there. */
  reload = async (): Promise<void> => {
    this.#abort?.abort()
    const abort = (this.#abort = new AbortController())
    this.busy = true
    try {
      const value = await this.#fetch(abort.signal)
      if (abort.signal.aborted) return
      this.value = value
      this.error = undefined
    } catch (e) {
      if (abort.signal.aborted) return
      this.error = e instanceof ApiError ? e : new ApiError(0, String(e), [])
    }
    this.busy = false
  }

  stop() {
    this.#abort?.abort()
  }
}

/**
 * Reads now, again whenever what fetch depends on changes (key), and every
 * seconds while the page is visible. Call it while a component is made.
 */
export function load<T>(fetch: (signal: AbortSignal) => Promise<T>, opts: { key?: () => unknown; every?: number } = {}): Resource<T> {
  const resource = new Resource(fetch)
  let last: unknown
  $effect(() => {
    const key = opts.key?.()
    untrack(() => {
      if (key !== last) resource.value = undefined // another thing: what was read is not it
      last = key
      void resource.reload()
    })
    const timer = opts.every ? setInterval(() => document.visibilityState === 'visible' && void resource.reload(), opts.every * 1000) : 0
    return () => {
      clearInterval(timer)
      resource.stop()
    }
  })
  return resource
}
