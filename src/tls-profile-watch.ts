/** The TLS profile of the cluster (CDIConfig `tlsSecurityProfile`), watched: a change is known within a second or so. */
import { kinds } from './api/kinds.ts'
import type { Log } from './log.ts'
import { tlsProfileOf } from './tls-profile.ts'
import type { TlsProfile } from './tls-profile.ts'
import { Cache } from './kube/cache.ts'
import type { KubeClient } from './kube/client.ts'

/** Tells each change until the signal; resolves when nothing runs any more. */
export function watchTlsProfile(options: {
  readonly client: Pick<KubeClient, 'list' | 'watch'>
  readonly log: Log
  readonly onChange: (profile: TlsProfile) => void
  readonly signal: AbortSignal
}): Promise<void> {
  const { client, log, onChange, signal } = options
  const configs = new Cache({
    client,
    log,
    kind: kinds.cdiConfig,
    fieldSelector: 'metadata.name=config',
    optional: true,
  })
  configs.onChange(({ new: config }) => onChange(tlsProfileOf(config)))
  return configs.start(signal)
}
