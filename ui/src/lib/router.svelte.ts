/** The address bar as state: pages read path and query, links just work. */
class Router {
  path = $state(location.pathname)
  query = $state.raw(new URLSearchParams(location.search))
  hash = $state(location.hash)

  constructor() {
    addEventListener('popstate', () => this.read())
    document.addEventListener('click', (e) => this.click(e))
  }

  /** Goes to a page of this console. With replace the page before is forgotten. */
  go(url: string, replace = false) {
    if (replace) history.replaceState(null, '', url)
    else history.pushState(null, '', url)
    const before = this.path
    this.read()
    if (this.path !== before) scrollTo(0, 0)
  }

  /** Sets parameters of the query in place; empty values go away. */
  set(params: Record<string, string | undefined>) {
    const q = new URLSearchParams(this.query)
    for (const [k, v] of Object.entries(params)) {
      if (v) q.set(k, v)
      else q.delete(k)
    }
    const text = q.toString()
    this.go(this.path + (text ? '?' + text : ''), true)
  }

  private read() {
    this.path = location.pathname
    if (location.search.slice(1) !== this.query.toString()) this.query = new URLSearchParams(location.search)
    this.hash = location.hash
  }

  private click(e: MouseEvent) {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
    const a = (e.target as Element | null)?.closest?.('a')
    if (!a || a.origin !== location.origin || a.target || a.hasAttribute('download') || a.getAttribute('href')?.startsWith('#')) return
    e.preventDefault()
    this.go(a.pathname + a.search + a.hash)
  }
}

export const router = new Router()
