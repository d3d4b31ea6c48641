import { api } from './api'
import type { GabionEvent } from './types'

/** Events as they come. The browser goes on by itself after a break, with the last id it saw. */
export class Live {
  state = $state<'off' | 'connecting' | 'on' | 'broken'>('off')
  #source?: EventSource
  #take: (e: GabionEvent) => void

  constructor(take: (e: GabionEvent) => void) {
    this.#take = take
  }

  open(query: string) {
    this.close()
    this.state = 'connecting'
    const source = (this.#source = new EventSource('/api/v1/events/stream?' + query))
    source.addEventListener('ready', () => (this.state = 'on'))
    source.onmessage = (m) => this.#take(JSON.parse(m.data))
    source.onerror = () => {
      this.state = source.readyState === EventSource.CLOSED ? 'broken' : 'connecting'
      // A refused stream does not say why; asking for the session does.
      if (this.state === 'broken') void api.get('/session').catch(() => {})
    }
  }

  close() {
    this.#source?.close()
    this.#source = undefined
    this.state = 'off'
  }
}
