/**
 * Brings the certificates of an installation to where they should be: for each purpose an authority, the bundle by which
 * it is trusted, and a leaf (contract/upload.md §7). Each object is read, decided about and written on its own, guarded by
 * its version, so that any number of processes may run this at any time; a run that was cut off is made up by the next.
 *
 * The order matters: an authority is in its bundle before the first leaf of it appears.
 */
import type { X509Certificate } from 'node:crypto'
import { kinds } from '../api/kinds.ts'
import type { CDI, ConfigMap, Secret } from '../api/kinds.ts'
import { labels, labelValues, recommendedLabels } from '../api/names.ts'
import type { InstallerLabels } from '../api/names.ts'
import { isAlreadyExists, isConflict, isNotFound } from '../kube/api-error.ts'
import type { KubeClient } from '../kube/client.ts'
import { formatTime } from '../kube/clock.ts'
import type { Clock } from '../kube/clock.ts'
import { mergePatch } from '../kube/merge-patch.ts'
import type { Kind, KubeObject, NewObject, ObjectMeta, OwnerReference } from '../kube/object.ts'
import { controllerOf, controllerRef } from '../kube/owners.ts'
import type { Log } from '../log.ts'
import { uploadProxyClientName } from '../api/upload-env.ts'
import { createAuthority, issueClientCertificate, issueServerCertificate } from './authority.ts'
import type { CertificatePair } from './authority.ts'
import { bundleChangesAt, bundleOf, formatBundle } from './bundle.ts'
import { formatLifetime, lifetimesOf } from './lifetimes.ts'
import type { Lifetime, Lifetimes } from './lifetimes.ts'
import {
  bundleKey,
  certificateAnnotations,
  certificateNames,
  certificateTypeLabel,
  pairKeys,
  tlsSecretType,
} from './names.ts'
import type { CertificateType } from './names.ts'
import { certificatesIn, commonNameOf } from './pem.ts'
import { decideLeaf, decideSigner, formatHosts, newSigner } from './rotation.ts'
import type { Purpose, Signer, Trouble } from './rotation.ts'

export interface CertificateManagerOptions {
  readonly client: Pick<KubeClient, 'get' | 'create' | 'patch' | 'delete'>
  /** Namespace of the installation. */
  readonly namespace: string
  readonly log: Log
  readonly clock: Pick<Clock, 'now'>
}

/** What the installation says to it, read anew for each run. */
export interface Installation {
  /** The active CDI; what is made belongs to it. */
  readonly cdi?: CDI | undefined
  readonly installer?: InstallerLabels
}

export interface CertificateState {
  /** When something is due, epoch milliseconds. */
  readonly lookAgainAt: number
  /** The bundle that clients of the API server trust (webhooks, APIService): PEM. Undefined when it could not be settled. */
  readonly apiServerBundle: string | undefined
  /** What kept a purpose from being settled; it is to be tried again. */
  readonly errors: readonly unknown[]
}

interface Family {
  readonly signer: string
  readonly bundle: string
  readonly leaf?: { readonly name: string; readonly lifetime: 'server' | 'client'; readonly purpose: Purpose }
  /** Whether users may put a certificate of their own in place of the leaf. */
  readonly mayBeForeign?: boolean
}

/** Somebody else changes the same object all the time. */
const maxTries = 5

export class CertificateManager {
  readonly #options: CertificateManagerOptions
  readonly #families: readonly Family[]
  /** What has been logged and is told again only when it changes. */
  readonly #told = new Map<string, string>()

  constructor(options: CertificateManagerOptions) {
    this.#options = options
    this.#families = familiesOf(options.namespace)
  }

  /**
   * One round over all of them; running it again at once changes nothing. A purpose that fails does not keep the others from
   * being looked after: what went wrong is returned and not thrown.
   */
  async run({ cdi, installer = {} }: Installation, signal?: AbortSignal): Promise<CertificateState> {
    const { lifetimes, faults } = lifetimesOf(cdi?.spec.certConfig)
    this.#tell('faults', faults.join('; '), () =>
      this.#options.log.warn({ faults }, 'certConfig makes no sense in parts, defaults are used for them'),
    )
    const round = new Round({
      ...this.#options,
      lifetimes,
      common: commonMeta(cdi, installer),
      signal,
      tell: this.#tell,
    })
    const settled = await Promise.allSettled(this.#families.map((family) => round.settle(family)))
    const [apiServer] = settled
    const ends = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value.lookAgainAt] : []))
    return {
      lookAgainAt: Math.min(...ends, Number.MAX_SAFE_INTEGER),
      apiServerBundle: apiServer?.status === 'fulfilled' ? apiServer.value.bundle : undefined,
      errors: settled.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : [])),
    }
  }

  /** Calls `log` when `text` is another one than last time, and not empty. */
  readonly #tell = (subject: string, text: string, log: () => void): void => {
    if (text !== '' && this.#told.get(subject) !== text) log()
    this.#told.set(subject, text)
  }
}

function familiesOf(namespace: string): readonly [Family, ...Family[]] {
  const hostsOf = (service: string): readonly string[] => [
    service,
    `${service}.${namespace}`,
    `${service}.${namespace}.svc`,
  ]
  const { apiServer, uploadProxy, uploadServer, uploadClient } = certificateNames
  return [
    { ...apiServer, leaf: { name: apiServer.leaf, lifetime: 'server', purpose: { hosts: hostsOf('cdi-api') } } },
    {
      ...uploadProxy,
      leaf: { name: uploadProxy.leaf, lifetime: 'server', purpose: { hosts: hostsOf('cdi-uploadproxy') } },
      mayBeForeign: true,
    },
    uploadServer,
    {
      ...uploadClient,
      leaf: { name: uploadClient.leaf, lifetime: 'client', purpose: { commonName: uploadProxyClientName } },
    },
  ]
}

interface CommonMeta {
  readonly labels: Readonly<Record<string, string>>
  readonly owner: OwnerReference | undefined
}

/** What all objects of an installation bear (contract/platform.md §3). */
function commonMeta(cdi: CDI | undefined, installer: InstallerLabels): CommonMeta {
  const own = cdi?.metadata.labels ?? {}
  return {
    labels: {
      ...recommendedLabels({
        partOf: own[labels.partOf] ?? installer.partOf,
        version: own[labels.version] ?? installer.version,
      }),
      [labels.managedBy]: labelValues.managedByOperator,
      [labels.component]: '',
    },
    owner: cdi && controllerRef(cdi),
  }
}

interface FamilyState {
  readonly lookAgainAt: number
  readonly bundle: string
}

interface RoundOptions extends CertificateManagerOptions {
  readonly lifetimes: Lifetimes
  readonly common: CommonMeta
  readonly tell: (subject: string, text: string, log: () => void) => void
  readonly signal: AbortSignal | undefined
}

/** What a Secret of ours is to hold. */
interface Wanted {
  readonly type: CertificateType
  readonly pair: CertificatePair
  readonly lifetime: Lifetime
  readonly issuer: string
  readonly hosts?: readonly string[]
}

class Round {
  readonly #options: RoundOptions

  constructor(options: RoundOptions) {
    this.#options = options
  }

  async settle(family: Family): Promise<FamilyState> {
    const { signer, lookAgainAt } = await this.#again(() => this.#settleSigner(family))
    const bundle = await this.#again(() => this.#settleBundle(family, signer.certificate))
    const { leaf } = family
    const leafAt = leaf ? await this.#again(() => this.#settleLeaf(family, leaf, signer, bundle)) : lookAgainAt
    return {
      lookAgainAt: Math.min(lookAgainAt, leafAt, bundleChangesAt(bundle, this.#options.clock.now()) + 1),
      bundle: formatBundle(bundle),
    }
  }

  async #settleSigner({ signer: name }: Family): Promise<{ signer: Signer; lookAgainAt: number }> {
    const { lifetimes, clock, namespace } = this.#options
    const now = clock.now()
    const found = await this.#get(kinds.secret, name)
    const decision = decideSigner({ secret: found, lifetime: lifetimes.ca, now })
    if (decision.kind === 'keep') {
      if (found) await this.#restoreMeta(kinds.secret, found, 'signer')
      return decision
    }
    const issuer = `${namespace}_${name}@${Math.floor(now / 1000)}`
    const pair = await createAuthority({ commonName: issuer, lifetimeMs: lifetimes.ca.lifetimeMs, now })
    await this.#putPair(name, found, { type: 'signer', pair, lifetime: lifetimes.ca, issuer }, decision.trouble)
    return { signer: newSigner(pair), lookAgainAt: now }
  }

  async #settleBundle({ bundle: name }: Family, signer: X509Certificate): Promise<X509Certificate[]> {
    const { clock, log } = this.#options
    const found = await this.#get(kinds.configMap, name)
    const authorities = bundleOf({ present: found?.data?.[bundleKey] ?? '', signer, now: clock.now() })
    const text = formatBundle(authorities)
    if (found?.data?.[bundleKey] === text) {
      await this.#restoreMeta(kinds.configMap, found, 'ca-bundle')
      return authorities
    }
    await this.#put(kinds.configMap, found, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: this.#metaOf(name, 'ca-bundle', found?.metadata),
      data: { [bundleKey]: text },
    })
    log.info({ configMap: name, authorities: authorities.length }, 'bundle changed')
    return authorities
  }

  async #settleLeaf(
    { mayBeForeign = false }: Family,
    { name, lifetime: kind, purpose }: NonNullable<Family['leaf']>,
    signer: Signer,
    bundle: readonly X509Certificate[],
  ): Promise<number> {
    const { lifetimes, clock, log, tell } = this.#options
    const now = clock.now()
    const lifetime = lifetimes[kind]
    const found = await this.#get(kinds.secret, name)
    const decision = decideLeaf({
      secret: found,
      lifetime,
      caLifetime: lifetimes.ca,
      purpose,
      signer,
      bundle,
      mayBeForeign,
      now,
    })
    const foreign = decision.kind === 'honour' ? decision.certificate : undefined
    tell(name, foreign?.fingerprint256 ?? '', () =>
      log.info(
        { secret: name, subject: foreign?.subject, notAfter: foreign?.validToDate },
        'the certificate that a user supplied is used and not renewed',
      ),
    )
    if (decision.kind !== 'renew') {
      if (found && decision.kind === 'keep') await this.#restoreMeta(kinds.secret, found, 'target')
      return decision.lookAgainAt
    }
    const order = {
      authority: signer.pair,
      lifetimeMs: Math.min(lifetime.lifetimeMs, signer.notAfter - now),
      now,
    }
    const pair = await ('hosts' in purpose
      ? issueServerCertificate({ ...order, hosts: purpose.hosts })
      : issueClientCertificate({ ...order, commonName: purpose.commonName }))
    const issuer = commonNameOf(signer.certificate) ?? ''
    const wanted: Wanted = {
      type: 'target',
      pair,
      lifetime,
      issuer,
      ...('hosts' in purpose ? { hosts: purpose.hosts } : {}),
    }
    await this.#putPair(name, found, wanted, decision.trouble)
    return now
  }

  async #putPair(name: string, found: Secret | undefined, wanted: Wanted, reason: Trouble): Promise<void> {
    const { type, pair, lifetime, issuer, hosts } = wanted
    const [certificate] = certificatesIn(pair.certPem)
    const notBefore = formatTime(certificate?.validFromDate.getTime() ?? 0)
    const notAfter = formatTime(certificate?.validToDate.getTime() ?? 0)
    await this.#put(kinds.secret, found, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: this.#metaOf(name, type, found?.metadata, {
        [certificateAnnotations.notBefore]: notBefore,
        [certificateAnnotations.notAfter]: notAfter,
        [certificateAnnotations.issuer]: issuer,
        [certificateAnnotations.config]: formatLifetime(lifetime),
        ...(hosts ? { [certificateAnnotations.hosts]: formatHosts(hosts) } : {}),
      }),
      type: tlsSecretType,
      data: {
        [pairKeys.certificate]: Buffer.from(pair.certPem).toString('base64'),
        [pairKeys.key]: Buffer.from(pair.keyPem).toString('base64'),
      },
    })
    this.#options.log.info({ secret: name, reason, notBefore, notAfter, issuer }, 'certificate made')
  }

  /** Puts back labels and owner of an object whose contents stay. */
  async #restoreMeta<T extends Secret | ConfigMap>(kind: Kind<T>, found: T, type: CertificateType): Promise<void> {
    const { name, resourceVersion, labels: present, ownerReferences } = found.metadata
    const wanted = this.#metaOf(name, type, found.metadata)
    const patch = mergePatch(
      { labels: present ?? {}, ownerReferences },
      { labels: { ...present, ...wanted.labels }, ownerReferences: wanted.ownerReferences ?? ownerReferences },
    )
    if (patch === undefined) return
    const body = { metadata: { ...(patch as object), resourceVersion } }
    await this.#options.client.patch(kind, this.#keyOf(name), body, { type: 'merge', signal: this.#options.signal })
  }

  #metaOf(
    name: string,
    type: CertificateType,
    found: ObjectMeta | undefined,
    annotations?: Record<string, string>,
  ): Partial<ObjectMeta> & { name: string } {
    const { labels, owner } = this.#options.common
    const owners = found?.ownerReferences ?? []
    const isOwned = found !== undefined && controllerOf({ metadata: found }) !== undefined
    return {
      ...this.#keyOf(name),
      labels: { ...labels, [certificateTypeLabel]: type },
      ...(annotations ? { annotations } : {}),
      ...(owner === undefined || isOwned ? {} : { ownerReferences: [...owners, owner] }),
    }
  }

  /** Creates or changes an object; keys, labels and annotations that are not ours stay. */
  async #put<T extends Secret | ConfigMap>(kind: Kind<T>, found: T | undefined, wanted: NewObject<T>): Promise<void> {
    const { client, signal } = this.#options
    if (found !== undefined) {
      const { name, uid, resourceVersion } = found.metadata
      if (canBePatched(found, wanted as { type?: string })) {
        const body = { ...wanted, metadata: { ...wanted.metadata, resourceVersion } }
        await client.patch(kind, this.#keyOf(name), body, { type: 'merge', signal })
        return
      }
      await client.delete(kind, this.#keyOf(name), { uid, resourceVersion, signal })
    }
    await client.create(kind, wanted, signal)
  }

  #get<T extends KubeObject>(kind: Kind<T>, name: string): Promise<T | undefined> {
    return this.#options.client.get(kind, this.#keyOf(name), this.#options.signal)
  }

  #keyOf(name: string): { namespace: string; name: string } {
    return { namespace: this.#options.namespace, name }
  }

  /** Reads and decides anew when somebody else wrote in between. */
  async #again<T>(act: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await act()
      } catch (error) {
        const isRace = isConflict(error) || isAlreadyExists(error) || isNotFound(error)
        if (!isRace || tries >= maxTries) throw error
      }
    }
  }
}

/** The type of a Secret cannot be changed, and nothing of what is marked immutable. */
function canBePatched(
  found: { immutable?: boolean | undefined; type?: string | undefined },
  wanted: { type?: string },
): boolean {
  return found.immutable !== true && found.type === wanted.type
}
