// The shapes of the API, as described in console/openapi.json. Lists may come
// as null where the server has none.
export type List<T> = T[] | null

export interface Ref {
  namespace: string
  name: string
  kind?: string
}
export interface RuleRef {
  policy?: string
  field?: string
  file?: string
  line?: number
}
export type Effect = 'observed' | 'would-block' | 'blocked' | 'not-blocked'
export type Severity = 'info' | 'low' | 'medium' | 'high' | 'critical'
export interface GabionEvent {
  id: string
  seq?: number
  kind: string
  first: string
  last: string
  count: number
  severity: Severity
  verdict?: string
  effect?: Effect
  mode?: string
  message: string
  node?: string
  workload?: Ref
  containerID?: string
  container?: string
  image?: string
  process?: {
    pid?: number
    ppid?: number
    uid: number
    exe?: string
    args?: List<string>
    parentExe?: string
    parentArgs?: List<string>
  }
  path?: string
  peer?: { addr?: string; port?: number; protocol?: string; workload?: Ref; localPort?: number }
  reasons?: List<string>
  rule?: RuleRef
  technique?: List<string>
  mechanism?: string
  evidence?: Record<string, string>
  actor?: string
}
export interface Page {
  events: List<GabionEvent>
  next?: string
}
export interface Bucket {
  start: string
  key?: string
  count: number
}
export interface Paged<T> {
  items: List<T>
  total: number
}
export interface Coverage {
  section: string
  mechanism: string
  guarantee: string
  degraded?: string
  unmatched?: List<string>
}
export interface Overview {
  node: string
  version: string
  revision?: string
  kernel?: string
  startedAt: string
  now: string
  runtimes: List<string>
  backends: List<{ name: string; section: string; active: boolean; guarantee: string; why?: string }>
  features: List<{ name: string; works: boolean; detail?: string; remedy?: string }>
  units: List<{ name: string; state: string; reason?: string; since?: string }>
  coverage: {
    containers: number
    enforced: number
    monitored: number
    learning: number
    blind: number
    unwatched: List<{ workload: Ref; containerID: string; container: string; section?: string; why: string; remedy?: string }>
  }
  losses: List<{ what: string; where?: string; count: number; last?: string }>
  store: { kind: string; events: number; bytes: number; oldest?: string; lastSeq: number }
  storeProblem?: string
}
export interface Workload {
  ref: Ref
  images: List<string>
  containers: number
  mode: Record<string, string> | null
  policies: List<string>
  coverage: List<Coverage>
  state: string
  learned: number
  quarantined: boolean
  blocked: number
  wouldBlock: number
}
export interface Container {
  id: string
  name: string
  runtime: string
  image?: string
  imageDigest?: string
  pid: number
  startedAt: string
  args?: List<string>
  addresses?: List<string>
  hostNetwork?: boolean
  coverage: List<Coverage>
  quarantined: boolean
  paused: boolean
  enforcedAfterUS?: number
}
export interface LearnedProcess {
  path: string
  applet?: string
  parent?: string
  inImage: boolean
  count: number
  first: string
  last: string
}
export interface LearnedPeer {
  workload?: Ref
  address?: string
  port?: number
  protocol: string
  exe?: string
  count: number
  first: string
  last: string
}
export interface WorkloadDetail extends Workload {
  running: List<Container>
  profile: {
    since?: string
    last?: string
    replicas: number
    processes: List<LearnedProcess>
    egress: List<LearnedPeer>
    ingress: List<LearnedPeer>
    omitted?: number
  }
  plan: {
    id?: string
    rules: List<{ section: string; effect: string; what: string; reason?: string; rule: RuleRef }>
  }
}
export interface Problem {
  severity: string
  file?: string
  line?: number
  column?: number
  field?: string
  message: string
  hint?: string
}
export interface Policy {
  id: string
  kind: string
  namespace?: string
  name: string
  mode: string
  file?: string
  line?: number
  source?: string
  conditions: List<{ type: string; status: boolean; reason?: string; message?: string; since?: string }>
  workloads: List<string>
  containers: number
  problems: List<Problem>
  hits: number
}
export interface Forecast {
  policy: string
  from: string
  to: string
  since?: string
  judged: number
  wouldBlock: number
  items: List<{ kind: string; workload: Ref; what: string; reasons?: List<string>; rule?: RuleRef; count: number; last?: string }>
  evidence: List<{ name: string; have: string; want?: string; met: boolean }>
  ready: boolean
  summary: string
}
export type Role = 'viewer' | 'operator' | 'admin'
export interface User {
  name: string
  role: Role
  created: string
  changed: string
}
export interface Severities {
  critical: number
  high: number
  medium: number
  low: number
  negligible: number
  unknown: number
}
export interface Image {
  digest: string
  names: List<string>
  platform?: string
  system?: string
  size: number
  complete: boolean
  gaps: number
  open: Severities
  exploited: number
  fixable: number
  used: number
  priority: number
  secrets: number
  checks: number
  packages: number
  signed?: string
  violations: number
  targets: List<string>
  running: number
  workloads: List<Ref>
  scannedAt: string
  matchedAt: string
  seenAt: string
  database: { digest?: string; data?: string; advisories: number; embedded?: boolean }
}
export interface ImageList extends Paged<Image> {
  kept: number
  unscanned: List<{ reference: string; digest?: string; containers: number; containerID: string; workloads: List<Ref> }>
  targets: List<{ name: string; registry: string; schedule?: string; state: string; problem?: string; last?: string; images: number; scanned: number; failed: number; webhook?: boolean }>
}
export interface ImageDetail extends Image {
  configID?: string
  created?: string
  user?: string
  command: List<string>
  base?: { name?: string; layers: number; how: string }
  layers: List<{ digest: string; size: number; command?: string; base?: boolean; packages: number; findings: number; secrets: number }>
  plan: List<{ do: string; where: string; closes: List<string>; worst: string; priority: number }>
  unfixed: number
  settled: number
  secretList: List<{ title: string; severity: string; where: string; line?: number; masked: string; fingerprint: string; layer: number; deleted?: boolean; state: string; decision?: string }>
  checkList: List<{ id: string; title: string; severity: string; status: string; evidence: List<string>; remedy?: string; state: string; decision?: string }>
  signatures: List<{ kind: string; valid: boolean; why?: string; identity?: string; issuer?: string; predicate?: string; signedAt?: string }>
  violationList: List<{ rule: string; object: string }>
  gapList: List<{ where: string; what: string; means?: string; do?: string; minor?: boolean }>
  containers: List<{ id: string; name: string; workload: Ref; startedAt: string; by: string }>
  omitted?: number
}
export interface ImageFinding {
  id: string
  aliases: List<string>
  severity: string
  score?: number
  exploited?: boolean
  epss?: number
  summary?: string
  url?: string
  package: string
  version: string
  ecosystem?: string
  path: string
  layer: number
  base?: boolean
  fix?: string
  state: string
  decision?: string
  expires?: string
  priority: number
  reasons: List<string>
  used?: boolean
  exposed?: boolean
}
export interface ImagePackage {
  name: string
  version: string
  ecosystem?: string
  purl?: string
  path: string
  layer: number
  licenses: List<string>
  findings: number
  worst?: string
}
export interface ImageScan {
  id: string
  what: string
  actor: string
  state: string
  problem?: string
  digest?: string
  asked: string
  ended?: string
}
