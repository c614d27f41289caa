/**
 * The Secrets of pods whose keys are made for them alone: of the pod's name, owned by it, made after it. A pod waits until
 * it is there, so a controller that was killed between the two makes it later.
 */
import { kinds } from '../../api/kinds.ts'
import type { Pod, Secret } from '../../api/kinds.ts'
import { labels, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { isAlreadyExists } from '../../kube/api-error.ts'
import type { ReconcileResult } from '../../kube/controller.ts'
import { keyOf } from '../../kube/object.ts'
import type { NewObject } from '../../kube/object.ts'
import { controllerRef } from '../../kube/owners.ts'
import type { Dependencies } from './dependencies.ts'

/** The Secret of a former pod goes soon after it. */
export const formerSecretDelayMs = 1_000
/** After this time a Secret that is there must be the pod's own. */
const garbageMs = 60_000
const mostRemembered = 10_000

export interface PodSecretInput {
  readonly pod: Pod
  /** Says which controller made it; its value is `yes`. */
  readonly madeBy: string
  /** Which component it belongs to. */
  readonly component: string
  /** Plain texts by the names of their files. */
  readonly texts: Readonly<Record<string, string>>
  readonly installer: InstallerLabels
}

/** Key and certificates of one pod; it goes with the pod. */
export function renderPodSecret({ pod, madeBy, component, texts, installer }: PodSecretInput): NewObject<Secret> {
  const { name, namespace } = pod.metadata
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      annotations: { [madeBy]: 'yes' },
      labels: { ...recommendedLabels(installer), [labels.component]: component },
      ownerReferences: [controllerRef(pod)],
    },
    type: 'Opaque',
    data: Object.fromEntries(Object.entries(texts).map(([file, text]) => [file, Buffer.from(text).toString('base64')])),
  }
}

export class PodSecrets {
  readonly #dependencies: Pick<Dependencies, 'client' | 'clock' | 'log'>
  /** UIDs of pods that have their Secret for sure; only spares requests. */
  readonly #having = new Set<string>()

  constructor(dependencies: Pick<Dependencies, 'client' | 'clock' | 'log'>) {
    this.#dependencies = dependencies
  }

  /** Whether a pod has its Secret for sure. */
  isThere({ metadata: { uid } }: Pod): boolean {
    return this.#having.has(uid)
  }

  /**
   * Gives a pod its Secret. One that is there may be the pod's own or that of a former pod of the same name that has not
   * gone yet; Secrets of users cannot be read, so the making is tried again until the former one must have gone.
   */
  async make(pod: Pod, secret: NewObject<Secret>): Promise<ReconcileResult> {
    const { client, clock, log } = this.#dependencies
    const { uid, creationTimestamp } = pod.metadata
    try {
      await client.create(kinds.secret, secret)
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const ageMs = clock.now() - Date.parse(creationTimestamp ?? '')
      if (!(ageMs > garbageMs)) {
        log.debug({ pod: keyOf(pod) }, 'a Secret of that name is there already')
        return { requeueAfterMs: formerSecretDelayMs }
      }
    }
    if (this.#having.size > mostRemembered) this.#having.clear()
    this.#having.add(uid)
    return {}
  }
}
