/**
 * What the cluster says about how to serve, watched: the front proxy (a ConfigMap of the API server) and the TLS profile
 * (CDIConfig). A change is known within a second or so.
 */
import { kinds } from '../api/kinds.ts'
import { Cache } from '../kube/cache.ts'
import type { KubeClient } from '../kube/client.ts'
import { systemClock } from '../kube/clock.ts'
import type { Clock } from '../kube/clock.ts'
import type { Log } from '../log.ts'
import { tlsProfileOf } from '../tls-profile.ts'
import type { TlsProfile } from '../tls-profile.ts'
import { frontProxyConfigMap, FrontProxyError, parseFrontProxy } from './front-proxy.ts'
import type { FrontProxy } from './front-proxy.ts'

export interface ClusterSettings {
  readonly profile: TlsProfile
  /** Undefined while there is none, or none that makes sense: nobody comes in by it then. */
  readonly frontProxy: FrontProxy | undefined
}

export interface SettingsWatch {
  /** As known by now. */
  readonly current: () => ClusterSettings
  /** Resolves once everything was read for the first time; never when the signal comes before. */
  readonly known: Promise<unknown>
  /** Resolves after the signal, when nothing runs any more. */
  readonly ended: Promise<unknown>
}

const configName = 'config'

/** Starts to watch. `onChange` is told all settings each time that one of the two objects changes. */
export function watchSettings(options: {
  readonly client: Pick<KubeClient, 'list' | 'watch'>
  readonly log: Log
  readonly clock?: Clock
  readonly onChange: (settings: ClusterSettings) => void
  readonly signal: AbortSignal
}): SettingsWatch {
  const { client, log, clock = systemClock, onChange, signal } = options
  const proxies = new Cache({
    client,
    log,
    clock,
    kind: kinds.configMap,
    namespace: frontProxyConfigMap.namespace,
    // One object only: that is all that the role of API servers allows.
    fieldSelector: `metadata.name=${frontProxyConfigMap.name}`,
  })
  const configs = new Cache({
    client,
    log,
    clock,
    kind: kinds.cdiConfig,
    fieldSelector: `metadata.name=${configName}`,
    optional: true,
  })
  let frontProxy: FrontProxy | undefined
  const current = (): ClusterSettings => ({ profile: tlsProfileOf(configs.get({ name: configName })), frontProxy })
  proxies.onChange(({ new: configMap }) => {
    frontProxy = configMap && read(configMap, log)
    onChange(current())
  })
  configs.onChange(() => onChange(current()))
  return {
    current,
    known: Promise.all([proxies.synced, configs.synced]),
    ended: Promise.all([proxies.start(signal), configs.start(signal)]),
  }
}

function read(configMap: Parameters<typeof parseFrontProxy>[0], log: Log): FrontProxy | undefined {
  try {
    return parseFrontProxy(configMap)
  } catch (error) {
    if (!(error instanceof FrontProxyError)) throw error
    log.error({ err: error }, 'the front proxy is not understood, nobody comes in by it')
    return undefined
  }
}
