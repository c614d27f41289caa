/** What the installation says to the controllers, read anew each time from CDIConfig and CDI. */
import { featureGates } from '../../api/names.ts'
import type { CDI, CDIConfig } from '../../api/kinds.ts'
import type { Caches } from './caches.ts'

const configName = 'config'

export function configOf({ cdiConfigs }: Pick<Caches, 'cdiConfigs'>): CDIConfig | undefined {
  return cdiConfigs.get({ name: configName })
}

/** The CDI that counts: the only one, or the only one that is not in error (contract/platform.md §2.2). */
export function activeCdi({ cdis }: { readonly cdis: Pick<Caches['cdis'], 'list'> }): CDI | undefined {
  const all = cdis.list()
  if (all.length === 1) return all[0]
  const sound = all.filter((cdi) => cdi.status?.phase !== 'Error')
  return sound.length === 1 ? sound[0] : undefined
}

export function isGateOpen(config: CDIConfig | undefined, gate: keyof typeof featureGates): boolean {
  return config?.spec.featureGates?.includes(featureGates[gate]) ?? false
}

/** Whether claims labelled `applyStorageProfile` are completed by the webhook. */
export function isClaimWebhookOn(config: CDIConfig | undefined): boolean {
  return config?.spec.webhookPvcRendering !== 'Disabled'
}

/** Whether claims of WaitForFirstConsumer classes wait for one. While CDIConfig is not there yet, nothing is hurried. */
export function honorsFirstConsumer(config: CDIConfig | undefined): boolean {
  return config === undefined || isGateOpen(config, 'honorWaitForFirstConsumer')
}
