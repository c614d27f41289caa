/**
 * Keeps one StorageProfile for each StorageClass, of the same name: what is known about the storage, with the corrections that
 * people write into its spec. Users and the other controllers read its status.
 */
import { kinds } from '../../api/kinds.ts'
import type { StorageClass, StorageProfile } from '../../api/kinds.ts'
import { labels, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { isAlreadyExists } from '../../kube/api-error.ts'
import { formatTime } from '../../kube/clock.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec } from '../../kube/controller.ts'
import { mergePatch } from '../../kube/merge-patch.ts'
import { keyOf } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { controllerOf, controllerRef } from '../../kube/owners.ts'
import type { Registry } from '../../metrics.ts'
import { isEmpty } from '../shared/annotated.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { activeCdi } from '../shared/settings.ts'
import { noProvisioner } from './capabilities.ts'
import { clusterFacts } from './cluster.ts'
import type { ClusterFacts } from './cluster.ts'
import { planProfile } from './plan.ts'
import { ProfileInfo } from './profile-info.ts'

export interface StorageProfileDependencies extends Dependencies {
  readonly metrics: Registry
  readonly installer: InstallerLabels
}

export function storageProfileController(dependencies: StorageProfileDependencies): ControllerSpec {
  const { storageClasses, storageProfiles, volumeSnapshotClasses, csiDrivers, pvs, cdis } = dependencies.caches
  const reconciler = new ProfileReconciler(dependencies)
  const classesOf = (provisioner: string): ObjectKey[] =>
    storageClasses
      .list()
      .filter((each) => each.provisioner === provisioner)
      .map(keyOf)
  return {
    name: 'storageprofile',
    watches: [
      watching(storageClasses, (storageClass) => [keyOf(storageClass)]),
      watching(storageProfiles, (profile) => [keyOf(profile)]),
      watching(volumeSnapshotClasses, ({ driver }, old) => [
        ...classesOf(driver),
        ...(old && old.driver !== driver ? classesOf(old.driver) : []),
      ]),
      watching(csiDrivers, ({ metadata }) => classesOf(metadata.name)),
      watching(pvs, ({ spec }) => {
        const storageClass = spec?.storageClassName ? storageClasses.get({ name: spec.storageClassName }) : undefined
        return storageClass?.provisioner === noProvisioner ? [keyOf(storageClass)] : []
      }),
      // A CDI that appears becomes the owner.
      watching(cdis, (_, old) => (old ? [] : storageClasses.list().map(keyOf))),
    ],
    reconcile: (key) => reconciler.reconcile(key),
  }
}

class ProfileReconciler {
  readonly #dependencies: StorageProfileDependencies
  readonly #cluster: ClusterFacts
  readonly #info: ProfileInfo

  constructor(dependencies: StorageProfileDependencies) {
    this.#dependencies = dependencies
    this.#cluster = clusterFacts(dependencies)
    this.#info = new ProfileInfo(dependencies.metrics)
  }

  async reconcile(key: ObjectKey): Promise<void> {
    const { client, caches } = this.#dependencies
    const storageClass = caches.storageClasses.get(key)
    const profile = caches.storageProfiles.get(key)
    if (storageClass === undefined) {
      this.#info.remove(key.name)
      if (profile !== undefined) await client.delete(kinds.storageProfile, key, { uid: profile.metadata.uid })
    } else if (profile === undefined) {
      // The new profile comes back as a change and gets its status then.
      await this.#create(storageClass)
    } else if (!profile.metadata.deletionTimestamp) {
      await this.#update(storageClass, profile)
    }
  }

  async #create({ metadata: { name } }: StorageClass): Promise<void> {
    const { client, caches } = this.#dependencies
    const cdi = activeCdi(caches)
    // Who goes away takes the profiles along; new ones would stay behind.
    if (cdi?.metadata.deletionTimestamp) return
    try {
      await client.create(kinds.storageProfile, {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'StorageProfile',
        metadata: { name, labels: this.#labels(), ...(cdi ? { ownerReferences: [controllerRef(cdi)] } : {}) },
        spec: {},
      })
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
    }
  }

  async #update(storageClass: StorageClass, profile: StorageProfile): Promise<void> {
    const { client, caches, clock } = this.#dependencies
    const plan = planProfile({
      storageClass,
      profile,
      snapshotClasses: (await this.#cluster.hasSnapshots()) ? caches.volumeSnapshotClasses.list() : undefined,
      csiDrivers: caches.csiDrivers.list(),
      volumes:
        storageClass.provisioner === noProvisioner
          ? caches.pvs.list().filter(({ spec }) => spec?.storageClassName === storageClass.metadata.name)
          : [],
      isSingleNode: await this.#cluster.isSingleNode(),
      now: formatTime(clock.now()),
    })
    this.#info.show(plan.facts)
    let { resourceVersion } = profile.metadata
    const metadata = this.#metadataPatch(profile, plan.annotations)
    const key = keyOf(profile)
    if (!isEmpty(metadata)) {
      const body = { metadata: { ...metadata, resourceVersion } }
      const written = await client.patch(kinds.storageProfile, key, body, { type: 'merge' })
      resourceVersion = written.metadata.resourceVersion
    }
    const status = mergePatch(profile.status, plan.status)
    if (status === undefined) return
    const body = { metadata: { resourceVersion }, status }
    await client.patch(kinds.storageProfile, key, body, { type: 'merge', subresource: 'status' })
  }

  #metadataPatch(
    profile: StorageProfile,
    annotations: Readonly<Record<string, string | null>>,
  ): Record<string, unknown> {
    const cdi = activeCdi(this.#dependencies.caches)
    const present = profile.metadata.labels ?? {}
    const missing = Object.entries(this.#labels()).filter(([label, value]) => present[label] !== value)
    return {
      ...(isEmpty(annotations) ? {} : { annotations }),
      ...(missing.length === 0 ? {} : { labels: Object.fromEntries(missing) }),
      ...(cdi && controllerOf(profile) === undefined
        ? { ownerReferences: [...(profile.metadata.ownerReferences ?? []), controllerRef(cdi)] }
        : {}),
    }
  }

  #labels(): Record<string, string> {
    return { ...recommendedLabels(this.#dependencies.installer), [labels.component]: '' }
  }
}
