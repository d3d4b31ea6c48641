/** The time, coarse: what shows "3 min ago" reads it. */
class Clock {
  now = $state(Date.now())
  constructor() {
    setInterval(() => (this.now = Date.now()), 10_000)
  }
}
export const clock = new Clock()

/** Short messages after something was done. */
class Notes {
  list = $state<{ id: number; text: string; bad: boolean }[]>([])
  #next = 1
  say(text: string, bad = false) {
    const id = this.#next++
    this.list.push({ id, text, bad })
    setTimeout(() => this.drop(id), bad ? 12_000 : 5_000)
  }
  drop(id: number) {
    this.list = this.list.filter((n) => n.id !== id)
  }
}
export const notes = new Notes()

/** A question before something is done that cannot be taken back lightly. */
export interface Question {
  title: string
  text: string
  button: string
  danger?: boolean
  run: () => Promise<void>
}
class Asking {
  question = $state.raw<Question | undefined>(undefined)
  ask(q: Question) {
    this.question = q
  }
}
export const asking = new Asking()

export type Theme = 'system' | 'light' | 'dark'
export function readTheme(): Theme {
  const t = document.documentElement.dataset.theme
  return t === 'dark' || t === 'light' ? t : 'system'
}
export function setTheme(t: Theme) {
  if (t === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = t
  try {
    if (t === 'system') localStorage.removeItem('gabion-theme')
    else localStorage.setItem('gabion-theme', t)
  } catch {
    // No storage: the choice lasts as long as the page.
  }
}
