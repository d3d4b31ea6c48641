import type { GabionEvent, LearnedPeer, Ref } from './types'

const number = new Intl.NumberFormat('en')
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })

export const num = (n: number): string => number.format(n)
export const plural = (n: number, one: string, many = one + 's'): string => `${num(n)} ${n === 1 ? one : many}`
export const fullTime = (t: string): string => full.format(new Date(t))

/** "14:03:22", with the day in front when it is not today. */
export function time(t: string, now = Date.now()): string {
  const d = new Date(t)
  const today = new Date(now).toDateString() === d.toDateString()
  return (today ? '' : day.format(d) + ' ') + clock.format(d)
}

/** "6 min", "3 h", "2 d" for a number of milliseconds. */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s} s`
  const m = Math.floor(s / 60)
  if (m < 60) return `${m} min`
  const h = Math.floor(m / 60)
  if (h < 48) return m % 60 && h < 10 ? `${h} h ${m % 60} min` : `${h} h`
  return `${Math.floor(h / 24)} d`
}

export function bytes(n: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let i = 0
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000
    i++
  }
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`
}

export const refText = (r?: Ref): string => (r?.name ? `${r.namespace}/${r.name}` : '')
export const workloadURL = (r: Ref): string => `/workloads/${encodeURIComponent(r.namespace)}/${encodeURIComponent(r.name)}`
export const imageURL = (digest: string): string => `/images/${encodeURIComponent(digest)}`
export const shortDigest = (d: string): string => d.slice(0, d.indexOf(':') + 13)
/** What people call an image; Docker Hub is left out as they do. */
export const imageName = (i: { names: string[] | null; digest: string }): string => i.names?.[0]?.replace(/^index\.docker\.io\/(library\/)?/, '') ?? shortDigest(i.digest)
export const policyURL = (id: string, line?: number): string => '/policies/' + id.split('/').map(encodeURIComponent).join('/') + (line ? '#L' + line : '')

export function peerText(p: NonNullable<GabionEvent['peer']>): string {
  const host = p.addr?.includes(':') ? `[${p.addr}]` : (p.addr ?? '')
  return [refText(p.workload), host + (p.port ? ':' + p.port : ''), p.protocol].filter(Boolean).join(' · ')
}

export function learnedText(p: LearnedPeer): string {
  const port = p.port ? `${p.protocol}/${p.port}` : p.protocol
  return `${refText(p.workload) || p.address || 'anyone'} · ${port}`
}

/** Plain words for a kind of event. */
export function kindText(kind: string): string {
  const words: Record<string, string> = {
    'process.exec': 'Program started',
    'process.drift': 'Program not in image',
    'process.fileless': 'Program in memory only',
    'network.connect': 'Outgoing connection',
    'network.accept': 'Incoming connection',
    'network.socket': 'Special socket',
    'file.access': 'File access',
    'capability.use': 'Capability',
    hardening: 'Hardening',
    detection: 'Detection',
    'container.start': 'Container started',
    'container.stop': 'Container stopped',
    'policy.change': 'Policy changed',
    'policy.promote': 'Mode changed',
    'response.action': 'Response',
    'agent.health': 'Health',
    'agent.loss': 'Loss',
    'console.access': 'Console access',
    'image.findings': 'Image findings',
    'image.violation': 'Image not allowed',
    'image.failed': 'Image not scanned',
  }
  return words[kind] ?? kind
}
