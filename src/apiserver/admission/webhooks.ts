/**
 * The webhooks by their paths (contract/platform.md §6): which resources each one is for, how long the API server waits for
 * it, what decides. Nothing is written in the cluster by any of them, so that dry runs are true.
 */
import { kinds } from '../../api/kinds.ts'
import { isGateOpen } from '../../controllers/shared/settings.ts'
import { validateCdi } from './cdi.ts'
import { validateDataImportCron } from './dataimportcron.ts'
import { mutateDataVolume } from './datavolume-mutate.ts'
import type { MutateDependencies } from './datavolume-mutate.ts'
import { validateDataVolume } from './datavolume-validate.ts'
import { validateObjectTransfer } from './objecttransfer.ts'
import { validateVolumeImportSource, validateVolumeUploadSource } from './populator.ts'
import { mutateClaim } from './pvc.ts'
import type { ClaimDependencies } from './pvc.ts'
import type { AdmissionRequest } from './review.ts'
import { refused } from './verdict.ts'
import type { Verdict } from './verdict.ts'

export type WebhookDependencies = MutateDependencies & ClaimDependencies

type Decide = (
  request: AdmissionRequest,
  dependencies: WebhookDependencies,
  signal: AbortSignal,
) => Verdict | Promise<Verdict>

export interface Webhook {
  readonly path: string
  /** What decides, by the plural of the resource. */
  readonly decide: Readonly<Record<string, Decide>>
  /** Somewhat less than the API server's patience, so that it gets to know what was waited for. */
  readonly timeoutMs: number
}

const patienceMs = 25_000
const claimPatienceMs = 8_000

export const webhooks: readonly Webhook[] = [
  { path: '/datavolume-validate', decide: { datavolumes: decideDataVolume }, timeoutMs: patienceMs },
  { path: '/datavolume-mutate', decide: { datavolumes: mutateDataVolume }, timeoutMs: patienceMs },
  { path: '/cdi-validate', decide: { cdis: validateCdi }, timeoutMs: patienceMs },
  {
    path: '/dataimportcron-validate',
    decide: { dataimportcrons: validateDataImportCron },
    timeoutMs: patienceMs,
  },
  {
    path: '/populator-validate',
    decide: {
      volumeimportsources: validateVolumeImportSource,
      volumeuploadsources: validateVolumeUploadSource,
    },
    timeoutMs: patienceMs,
  },
  {
    path: '/objecttransfer-validate',
    decide: { objecttransfers: validateObjectTransfer },
    timeoutMs: patienceMs,
  },
  { path: '/pvc-mutate', decide: { persistentvolumeclaims: mutateClaim }, timeoutMs: claimPatienceMs },
]

/** The verdict of a webhook. Rejects when something that it needs cannot be looked up. */
export async function decide(
  webhook: Webhook,
  request: AdmissionRequest,
  dependencies: WebhookDependencies,
  signal: AbortSignal,
): Promise<Verdict> {
  const decideOne = Object.hasOwn(webhook.decide, request.resource) ? webhook.decide[request.resource] : undefined
  if (!decideOne) return refused(`expect resource to be ${Object.keys(webhook.decide).join(' or ')}`)
  return decideOne(request, dependencies, signal)
}

async function decideDataVolume(
  request: AdmissionRequest,
  { client }: WebhookDependencies,
  signal: AbortSignal,
): Promise<Verdict> {
  const { operation, namespace, name } = request
  const claim =
    operation === 'CREATE' && namespace !== '' && name !== ''
      ? await client.get(kinds.pvc, { namespace, name }, signal)
      : undefined
  const config = claim && (await client.get(kinds.cdiConfig, { name: 'config' }, signal))
  return validateDataVolume(request, { claim, adoptionGate: isGateOpen(config, 'claimAdoption') })
}
