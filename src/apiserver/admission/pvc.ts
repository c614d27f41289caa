/**
 * Claims that ask for it (label `cdi.kubevirt.io/applyStorageProfile: "true"`) are completed at creation from their
 * StorageClass and its StorageProfile, by the same arithmetic as a DataVolume's `spec.storage` (contract/golden-images.md
 * §2).
 */
import { annotations, labels } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type {
  CDIConfig,
  PersistentVolume,
  PersistentVolumeClaim,
  PersistentVolumeClaimSpec,
  StorageClass,
  StorageProfile,
} from '../../api/kinds.ts'
import {
  completeModes,
  completeSize,
  isFilledFrom,
  volumeModeFromProfile,
} from '../../controllers/datavolume/render.ts'
import type { ContentType } from '../../controllers/datavolume/render.ts'
import { storageClassFor } from '../../controllers/storageclass.ts'
import type { KubeClient } from '../../kube/client.ts'
import { isEqual } from '../../kube/merge-patch.ts'
import { tryParseQuantity } from '../../quantity.ts'
import type { AskAccess } from '../access.ts'
import { insufficientRights, mayClone } from './clone-rights.ts'
import { cloneSizeOf } from './clone-size.ts'
import type { CloneOrigin } from './clone-size.ts'
import { fieldsOf, textMapOf, textOf, textsOf } from './fields.ts'
import type { Fields } from './fields.ts'
import { metadataOf } from './review.ts'
import type { AdmissionRequest } from './review.ts'
import { admitted, pointerTo, refused } from './verdict.ts'
import type { PatchStep, Verdict } from './verdict.ts'

/** What a claim says, as far as it matters here. */
export interface ClaimWish {
  readonly spec: PersistentVolumeClaimSpec
  readonly contentType: ContentType
  readonly annotations: Readonly<Record<string, string>>
}

export interface ClaimSurroundings {
  readonly storageClasses: readonly StorageClass[]
  readonly storageProfiles: readonly StorageProfile[]
  readonly cdiConfig: CDIConfig | undefined
  /** Needed for a class that does not exist as an object only. */
  readonly persistentVolumes: readonly PersistentVolume[]
  /** What a clone without a size is made from. */
  readonly cloneOrigin: CloneOrigin | undefined
}

/** What shall be rendered; undefined for a claim that does not ask for it. */
export function claimWishOf({ operation, object }: AdmissionRequest): ClaimWish | undefined {
  const { labels: own, annotations: notes } = metadataOf(object)
  if (operation !== 'CREATE' || own[labels.applyStorageProfile] !== 'true') return undefined
  return {
    spec: specOf(fieldsOf(object['spec'])),
    contentType: notes[annotations.contentType] === 'archive' ? 'archive' : 'kubevirt',
    annotations: notes,
  }
}

/** The spec with its placeholder taken out. */
function specOf(spec: Fields): PersistentVolumeClaimSpec {
  const { volumeMode, accessModes, storageClassName, resources, ...rest } = spec
  const mode = textOf(volumeMode)
  return {
    ...rest,
    ...(mode === '' || mode === volumeModeFromProfile ? {} : { volumeMode: mode }),
    ...(textsOf(accessModes).length === 0 ? {} : { accessModes: textsOf(accessModes) }),
    ...(typeof storageClassName === 'string' ? { storageClassName } : {}),
    resources: { ...fieldsOf(resources), requests: textMapOf(fieldsOf(resources)['requests']) },
  }
}

/** Whether the size comes from the source of a clone. */
export function isCloneWithoutSize({ spec }: ClaimWish): boolean {
  const { kind, apiGroup } = spec.dataSourceRef ?? {}
  const bytes = tryParseQuantity(spec.resources?.requests?.['storage']) ?? 0
  return kind === 'VolumeCloneSource' && apiGroup === kinds.volumeCloneSource.group && bytes === 0
}

/** The completed spec, or why there is none. Pure. */
export function renderClaim(
  wish: ClaimWish,
  surroundings: ClaimSurroundings,
): { readonly spec: PersistentVolumeClaimSpec } | { readonly problem: string } {
  const placed = completeModes(wish.spec, wish.contentType, surroundings)
  if ('waitsForProfile' in placed) return { problem: `cannot get StorageProfile ${placed.waitsForProfile}` }
  if ('problem' in placed) return { problem: placed.problem.message }
  const { spec } = placed
  if (isCloneWithoutSize(wish)) {
    const size = cloneSizeOf(surroundings.cloneOrigin, {
      spec,
      contentType: wish.contentType,
      cloneType: wish.annotations[annotations.cloneType],
    })
    return 'problem' in size ? size : { spec: withSize(spec, size.storage) }
  }
  // A clone with a size and a restored snapshot get what was asked for: nothing is added.
  if (isFilledFrom(spec, 'VolumeCloneSource') || isFilledFrom(spec, 'VolumeSnapshot')) return { spec }
  const sized = completeSize(placed, surroundings)
  return 'problem' in sized ? { problem: sized.problem.message } : sized
}

function withSize(spec: PersistentVolumeClaimSpec, storage: string): PersistentVolumeClaimSpec {
  return { ...spec, resources: { ...spec.resources, requests: { ...spec.resources?.requests, storage } } }
}

/** The steps from the spec as sent to the completed one, member by member. */
export function specPatch(sent: unknown, wanted: PersistentVolumeClaimSpec): PatchStep[] {
  const before = fieldsOf(sent)
  const after: Fields = { ...wanted }
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return names.flatMap((name): PatchStep[] => {
    const path = pointerTo('spec', name)
    if (after[name] === undefined) return before[name] === undefined ? [] : [{ op: 'remove', path }]
    return isEqual(before[name], after[name]) ? [] : [{ op: 'add', path, value: after[name] }]
  })
}

export interface ClaimDependencies {
  readonly client: Pick<KubeClient, 'get' | 'list'>
  readonly askAccess: AskAccess
  /** Name under which the API server knows the controller. */
  readonly controllerUser: string
}

/** Looks up and decides. */
export async function mutateClaim(
  request: AdmissionRequest,
  { client, askAccess, controllerUser }: ClaimDependencies,
  signal: AbortSignal,
): Promise<Verdict> {
  // Its claims are complete, and would get room for a file system twice.
  if (request.user.name === controllerUser) return admitted
  const wish = claimWishOf(request)
  if (!wish) return admitted
  const [storageClasses, storageProfiles, cdiConfig] = await Promise.all([
    client.list(kinds.storageClass, { signal }),
    client.list(kinds.storageProfile, { signal }),
    client.get(kinds.cdiConfig, { name: 'config' }, signal),
  ])
  const { storageClassName } = wish.spec
  const isClassKnown = storageClassFor(storageClasses.items, storageClassName, wish.contentType) !== undefined
  const volumes = isClassKnown || storageClassName === undefined ? [] : (await client.list(kinds.pv, { signal })).items
  const origin = isCloneWithoutSize(wish) ? await findOrigin(request, wish, { client, askAccess }, signal) : undefined
  if (origin && 'problem' in origin) return refused(origin.problem)
  const rendered = renderClaim(wish, {
    storageClasses: storageClasses.items,
    storageProfiles: storageProfiles.items,
    cdiConfig,
    persistentVolumes: volumes,
    cloneOrigin: origin,
  })
  if ('problem' in rendered) return refused(rendered.problem)
  return { allowed: true, patch: specPatch(request.object['spec'], rendered.spec) }
}

async function findOrigin(
  request: AdmissionRequest,
  wish: ClaimWish,
  { client, askAccess }: { readonly client: Pick<KubeClient, 'get'>; readonly askAccess: AskAccess },
  signal: AbortSignal,
): Promise<CloneOrigin | { readonly problem: string }> {
  const namespace = wish.annotations[annotations.dataSourceNamespace] || request.namespace
  const { name = '' } = wish.spec.dataSourceRef ?? {}
  const cloneSource = await client.get(kinds.volumeCloneSource, { namespace, name }, signal)
  if (namespace !== request.namespace) {
    // Whoever may not look there does not get to know what is there either.
    const kind = cloneSource?.spec.source.kind === kinds.volumeSnapshot.kind ? 'snapshot' : 'pvc'
    const source = { kind, namespace, name: cloneSource?.spec.source.name ?? '' } as const
    const isAllowed = await mayClone(request.user, source, askAccess, signal)
    if (!isAllowed) return { problem: insufficientRights(request.user, namespace) }
  }
  if (!cloneSource) return { problem: `volumeclonesources.cdi.kubevirt.io "${name}" not found` }
  const { source } = cloneSource.spec
  switch (source.kind) {
    case 'PersistentVolumeClaim': {
      const claim = await client.get<PersistentVolumeClaim>(kinds.pvc, { namespace, name: source.name }, signal)
      return claim ? { claim } : { problem: `persistentvolumeclaims "${source.name}" not found` }
    }
    case 'VolumeSnapshot': {
      const snapshot = await client.get(kinds.volumeSnapshot, { namespace, name: source.name }, signal)
      return snapshot ? { snapshot } : { problem: `volumesnapshots.snapshot.storage.k8s.io "${source.name}" not found` }
    }
    default:
      return { problem: 'unsupported volumeCloneSource source' }
  }
}
