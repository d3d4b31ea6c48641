import type { Role } from './types'

const rank: Record<string, number> = { viewer: 1, operator: 2, admin: 3 }

/** Who is signed in. */
class Session {
  state = $state<'unknown' | 'in' | 'out'>('unknown')
  user = $state('')
  role = $state<Role | ''>('')
  csrf = $state('')
  /** Set when a session ended by itself, for the sign-in page to say so. */
  ended = $state(false)

  begin(info: { user: string; role: Role; csrf?: string }) {
    this.user = info.user
    this.role = info.role
    this.csrf = info.csrf ?? ''
    this.ended = false
    this.state = 'in'
  }

  end() {
    this.ended = this.state === 'in'
    this.state = 'out'
    this.user = this.role = this.csrf = ''
  }

  /** Whether the role suffices. The server decides; this only hides what it would refuse. */
  can(need: Role): boolean {
    return (rank[this.role] ?? 0) >= (rank[need] ?? 9)
  }
}

export const session = new Session()
