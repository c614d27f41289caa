/**
 * Lines of contract/datavolume.md and contract/import.md that only an API server can prove: who comes first, what is refused,
 * what lies beside a worker, what is logged. docs/contract-coverage.md says which.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import type { Event, PersistentVolumeClaim } from '../../../src/api/kinds.ts'
import { annotations } from '../../../src/api/names.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { completeWords } from './fixtures.ts'
import { atWork, ended, Hands, starting } from './hands.ts'
import type { Script } from './hands.ts'
import { limit } from './quota.ts'

let plane: ControlPlane
before(async () => {
  plane = await startControlPlane()
})
after(() => plane?.[Symbol.asyncDispose]())

const smooth: Script = () => [starting, atWork, ended(0, completeWords)]
const refused = (pod: string): string =>
  `Error starting pod '${pod}': For more information, request access to cdi-deploy logs from your sysadmin`

function hands(namespace: string, script: Script = smooth): Hands {
  return new Hands({ client: plane.client, namespace, script })
}

async function eventsOf(namespace: string, name: string): Promise<string[]> {
  const { items } = await plane.client.list(kinds.event, { namespace })
  return items
    .filter(({ involvedObject }: Event) => involvedObject.name === name)
    .map(({ type, reason, message }) => `${type} ${reason}: ${message}`)
}

async function told(namespace: string, name: string, pattern: RegExp): Promise<void> {
  let seen: string[] = []
  await eventually(`an event like ${pattern} of ${name}`, async () => {
    seen = await eventsOf(namespace, name)
    return seen.some((event) => pattern.test(event))
  }).catch((error: unknown) => {
    throw new Error(`seen: ${seen.join('\n')}`, { cause: error })
  })
}

/** Conditions as `Type=Status Reason: message`. */
async function conditionsOf(key: { namespace: string; name: string }): Promise<string[]> {
  const { status } = (await plane.client.get(kinds.dataVolume, key)) ?? {}
  return (status?.conditions ?? []).map(
    ({ type, status: value, reason = '', message = '' }) => `${type}=${value} ${reason}: ${message}`,
  )
}

async function shown(key: { namespace: string; name: string }, pattern: RegExp): Promise<void> {
  await eventually(`a condition like ${pattern}`, async () =>
    (await conditionsOf(key)).some((condition) => pattern.test(condition)),
  )
}

const claimSpec = {
  accessModes: ['ReadWriteOnce'],
  resources: { requests: { storage: '64Mi' } },
  storageClassName: 'csi',
}

describe('a claim and a VolumeImportSource that a user made', () => {
  const makeSource = (namespace: string, more: object = {}): Promise<unknown> =>
    plane.client.create(kinds.volumeImportSource, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'VolumeImportSource',
      metadata: { name: 'golden', namespace },
      spec: { source: { http: { url: 'http://images.example/disk.qcow2' } }, ...more },
    })
  const makeClaim = (namespace: string): Promise<PersistentVolumeClaim> =>
    plane.client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'mine', namespace },
      spec: {
        ...claimSpec,
        dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeImportSource', name: 'golden' },
      },
    })
  const filled = async (namespace: string): Promise<void> => {
    await eventually('the claim is filled and bound', async () => {
      const claim = await plane.client.get(kinds.pvc, { namespace, name: 'mine' })
      return claim?.status?.phase === 'Bound' && claim.metadata.annotations?.[annotations.podPhase] === 'Succeeded'
    })
    const claim = await plane.client.get(kinds.pvc, { namespace, name: 'mine' })
    assert.equal(claim?.metadata.annotations?.[annotations.populatorProgress], '100.0%')
    await told(namespace, 'mine', /^Normal importSucceeded: Successfully imported into mine$/)
  }

  for (const order of ['the claim', 'the source'] as const) {
    it(`is filled, ${order} first`, async () => {
      const namespace = await plane.newNamespace()
      await using _hands = hands(namespace)
      await using _process = plane.startProcess()
      const steps = [makeClaim, makeSource]
      for (const step of order === 'the claim' ? steps : steps.toReversed()) {
        await step(namespace)
        await delay(300)
      }
      await filled(namespace)
    })
  }

  it('is left alone when the source is meant for another claim', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = hands(namespace)
    await using _process = plane.startProcess()
    await makeSource(namespace, { targetClaim: 'another' })
    await makeClaim(namespace)
    // Something else that is done meanwhile shows that the controllers had their chance.
    const witness = await plane.newDataVolume()
    await using _others = hands(witness.namespace)
    await plane.untilPhase(witness, 'Succeeded')
    const { items } = await plane.client.list(kinds.pvc, { namespace })
    assert.deepEqual(
      items.map(({ metadata }) => metadata.name),
      ['mine'],
    )
  })
})

describe('a DataVolume that comes while the claim of a former one is going away', () => {
  it('waits, and gets a claim of its own', async () => {
    const key = await plane.newDataVolume()
    const former = await plane.client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { ...key, finalizers: ['example.com/slow'] },
      spec: claimSpec,
    })
    await plane.client.delete(kinds.pvc, key)
    await using _process = plane.startProcess()
    await told(key.namespace, 'dv', /^Warning ErrResourceMarkedForDeletion: Resource "dv" marked for deletion$/)
    assert.equal((await plane.client.get(kinds.pvc, key))?.metadata.uid, former.metadata.uid)
    await using _hands = hands(key.namespace)
    await plane.untilPhase(key, 'Succeeded')
    assert.notEqual((await plane.client.get(kinds.pvc, key))?.metadata.uid, former.metadata.uid)
  })
})

describe('a DataVolume whose claim belongs to nobody', () => {
  it('keeps its phase, whatever the claim went through, and says whose trouble it is', async () => {
    const namespace = await plane.newNamespace()
    const key = { namespace, name: 'dv' }
    await plane.client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { ...key, annotations: { [annotations.podPhase]: 'Succeeded' } },
      spec: claimSpec,
    })
    await using _hands = hands(namespace)
    await eventually('the claim is bound', async () => {
      return (await plane.client.get(kinds.pvc, key))?.status?.phase === 'Bound'
    })
    await using _process = plane.startProcess()
    await plane.client.create(kinds.dataVolume, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'DataVolume',
      metadata: key,
      spec: { source: { blank: {} }, pvc: claimSpec },
    })
    await told(
      namespace,
      'dv',
      /^Warning ErrResourceExists: Resource "dv" already exists and is not managed by DataVolume$/,
    )
    await shown(key, /^Bound=True/)
    const { status } = (await plane.client.get(kinds.dataVolume, key)) ?? {}
    assert.equal(status?.phase ?? '', '')
    assert.ok((await conditionsOf(key)).includes('Ready=False : '))
  })
})

describe('a class that comes late', () => {
  const lateClass = (provisioner: string): Promise<unknown> =>
    plane.client.create(kinds.storageClass, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'late' },
      provisioner,
    })

  it('heals a DataVolume that could not be rendered, through its StorageProfile too', async () => {
    const storage = { storageClassName: 'late', resources: { requests: { storage: '64Mi' } } }
    const key = await plane.newDataVolume({ spec: { storage } })
    await using _hands = hands(key.namespace)
    await using _process = plane.startProcess()
    await shown(key, /ErrClaimNotValid: PVC spec is missing accessMode and no storageClass to choose profile$/)
    // A provisioner that nobody knows: the profile has no sets.
    await lateClass('csi.example')
    try {
      await shown(key, /^Bound=False ErrClaimNotValid: no accessMode specified in StorageProfile late$/)
      assert.equal((await plane.client.get(kinds.dataVolume, key))?.status?.phase ?? '', '')
      const claimPropertySets = [{ accessModes: ['ReadWriteMany'], volumeMode: 'Block' }]
      await plane.client.patch(
        kinds.storageProfile,
        { name: 'late' },
        { spec: { claimPropertySets } },
        { type: 'merge' },
      )
      await plane.untilPhase(key, 'Succeeded')
      const claim = await plane.client.get(kinds.pvc, key)
      assert.deepEqual(claim?.spec?.accessModes, ['ReadWriteMany'])
      assert.equal(claim.spec.volumeMode, 'Block')
      assert.equal(claim.spec.resources?.requests?.['storage'], '67108864')
    } finally {
      await plane.client.delete(kinds.storageClass, { name: 'late' })
    }
  })
})

describe('a claim that was deleted while it cannot be made again', () => {
  it('is made again as soon as it can be', async () => {
    const name = 'comes-and-goes'
    const setModes = (claimPropertySets: unknown): Promise<unknown> =>
      plane.client.patch(kinds.storageProfile, { name }, { spec: { claimPropertySets } }, { type: 'merge' })
    const storage = { storageClassName: name, resources: { requests: { storage: '64Mi' } } }
    const key = await plane.newDataVolume({ spec: { storage } })
    await using _hands = hands(key.namespace)
    await using _process = plane.startProcess()
    await plane.client.create(kinds.storageClass, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name },
      provisioner: 'csi.example',
    })
    try {
      await shown(key, /^Bound=False ErrClaimNotValid: no accessMode specified in StorageProfile/)
      await setModes([{ accessModes: ['ReadWriteOnce'], volumeMode: 'Block' }])
      await plane.untilPhase(key, 'Succeeded')
      await setModes(null)
      await eventually('the profile knows no modes any more', async () => {
        const profile = await plane.client.get(kinds.storageProfile, { name })
        return !profile?.status?.claimPropertySets?.length
      })
      await plane.client.delete(kinds.pvc, key)
      await shown(key, /^Bound=False ErrClaimNotValid: no accessMode specified in StorageProfile/)
      await setModes([{ accessModes: ['ReadWriteMany'], volumeMode: 'Block' }])
      await eventually('the claim is made again', async () => {
        return (await plane.client.get(kinds.pvc, key))?.spec?.accessModes?.[0] === 'ReadWriteMany'
      })
      await plane.untilPhase(key, 'Succeeded')
    } finally {
      await plane.client.delete(kinds.storageClass, { name })
    }
  })
})

describe('a volume that becomes available', () => {
  it('gives its modes to a DataVolume that waits for a class without an object', async () => {
    const storage = { storageClassName: 'by-hand', resources: { requests: { storage: '64Mi' } } }
    const key = await plane.newDataVolume({ spec: { storage } })
    await using _process = plane.startProcess()
    await shown(key, /ErrClaimNotValid: PVC spec is missing accessMode and no storageClass to choose profile$/)
    await plane.client.create(kinds.pv, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'by-hand' },
      spec: {
        storageClassName: 'by-hand',
        accessModes: ['ReadWriteMany'],
        capacity: { storage: '1Gi' },
        hostPath: { path: '/nowhere' },
      },
    })
    try {
      const status = { phase: 'Available' }
      await plane.client.patch(kinds.pv, { name: 'by-hand' }, { status }, { type: 'merge', subresource: 'status' })
      await plane.untilPhase(key, 'Pending')
      const claim = await plane.client.get(kinds.pvc, key)
      assert.deepEqual(claim?.spec?.accessModes, ['ReadWriteMany'])
      assert.equal(claim.spec.storageClassName, 'by-hand')
      assert.equal(claim.metadata.annotations?.[annotations.usePopulator], 'false')
    } finally {
      await plane.client.delete(kinds.pv, { name: 'by-hand' })
    }
  })
})

describe('a quota', () => {
  it('that does not admit the worker is told on its claim, and obeyed until it grows', async () => {
    const key = await plane.newDataVolume({ annotated: { [annotations.usePopulator]: 'false' } })
    const quota = await limit(plane.client, key.namespace, { hard: { pods: '0' } })
    await using _hands = hands(key.namespace)
    await using _process = plane.startProcess()
    await told(key.namespace, 'dv', new RegExp(`^Warning ErrExceededQuota: ${refused('importer-dv')}$`))
    await shown(key, new RegExp(`^Running=False ErrExceededQuota: ${refused('importer-dv')}$`))
    const claim = await plane.client.get(kinds.pvc, key)
    assert.equal(claim?.metadata.annotations?.[annotations.podPhase], 'Failed')
    await quota.raise({ pods: '5' })
    await plane.untilPhase(key, 'Succeeded')
  })

  it('that does not admit P is told on the claim and on the DataVolume, and obeyed until it grows', async () => {
    const key = await plane.newDataVolume()
    const quota = await limit(plane.client, key.namespace, { hard: { persistentvolumeclaims: '1' } })
    await using _hands = hands(key.namespace)
    await using _process = plane.startProcess()
    await told(key.namespace, 'dv', /^Warning ErrCreatingPVCPrime: .*exceeded quota: limit/)
    await shown(key, /^Bound=False ErrExceededQuota: .*exceeded quota: limit/)
    await quota.raise({ persistentvolumeclaims: '2' })
    await plane.untilPhase(key, 'Succeeded')
  })

  it('that does not admit the scratch claim is told on the claim that it is for', async () => {
    const key = await plane.newDataVolume()
    const quota = await limit(plane.client, key.namespace, { hard: { persistentvolumeclaims: '2' } })
    // The second worker waits, as a kubelet would make it, for the volume that it stages in.
    const asks: Script = (_, nth) =>
      nth === 0 ? [starting, atWork, ended(0, '{"scratchSpaceRequired":true,"message":"x"}')] : [starting]
    await using _hands = hands(key.namespace, asks)
    await using _process = plane.startProcess()
    let prime = ''
    await eventually('P is there', async () => {
      prime = (await plane.client.get(kinds.pvc, key))?.metadata.annotations?.[annotations.populatorPvcPrime] ?? ''
      return prime !== ''
    })
    await told(key.namespace, prime, /^Warning ErrExceededQuota: .*exceeded quota: limit/)
    await quota.raise({ persistentvolumeclaims: '3' })
    await eventually('the scratch claim is made', async () => {
      return (await plane.client.get(kinds.pvc, { ...key, name: `${prime}-scratch` })) !== undefined
    })
  })
})

describe("the proxy's CA", () => {
  const copyOf = async (namespace: string): Promise<string | undefined> => {
    const { items } = await plane.client.list(kinds.configMap, { namespace })
    return items.map(({ metadata }) => metadata.name).find((name) => name.startsWith('import-proxy-cm-'))
  }

  it('lies beside the worker with all its keys, owned by the pod', async () => {
    const { client } = plane
    const config = { name: 'config' }
    await client.create(kinds.configMap, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { namespace: 'cdi', name: 'proxy-ca' },
      data: { 'ca.crt': 'one', 'other.pem': 'two' },
    })
    const importProxy = { HTTPSProxy: 'https://proxy.example:3128', trustedCAProxy: 'proxy-ca' }
    await client.patch(kinds.cdiConfig, config, { spec: { importProxy } }, { type: 'merge' })
    try {
      const key = await plane.newDataVolume()
      // The worker goes on only when it is told to, so that there is time to look.
      await using _hands = hands(key.namespace, () => [starting])
      await using _process = plane.startProcess()
      await eventually('the copy', async () => (await copyOf(key.namespace)) !== undefined)
      const name = (await copyOf(key.namespace)) ?? ''
      const copy = await client.get(kinds.configMap, { namespace: key.namespace, name })
      const { items: pods } = await client.list(kinds.pod, { namespace: key.namespace })
      assert.equal(pods.length, 1)
      assert.equal(name, `import-proxy-cm-${pods[0]?.metadata.name.replace(/^importer-/, '')}`)
      assert.deepEqual(copy?.data, { 'ca.crt': 'one', 'other.pem': 'two' })
      assert.deepEqual(
        copy?.metadata.ownerReferences?.map(({ kind, uid, controller }) => ({ kind, uid, controller })),
        [{ kind: 'Pod', uid: pods[0]?.metadata.uid, controller: true }],
      )
      const env = Object.fromEntries((pods[0]?.spec?.containers[0]?.env ?? []).map(({ name: n, value }) => [n, value]))
      assert.equal(env['https_proxy'], 'https://proxy.example:3128')
    } finally {
      await client.patch(kinds.cdiConfig, config, { spec: { importProxy: null } }, { type: 'merge' })
    }
  })
})

describe('a claim without an order', () => {
  it('stays empty, and is named once in the log in the words that others match', async () => {
    const namespace = await plane.newNamespace()
    const lines: string[] = []
    await using _process = plane.startProcess(undefined, (message, fields) =>
      lines.push(`${message} ${JSON.stringify(fields)}`),
    )
    await plane.client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'plain', namespace },
      spec: claimSpec,
    })
    const wanted = `PVC annotation not found, skipping pvc ${JSON.stringify([
      ['PVC', { name: 'plain', namespace }],
      ['annotation', 'cdi.kubevirt.io/storage.import.endpoint'],
    ])}`
    await eventually('the line', async () => lines.includes(wanted))
    await plane.client.patch(
      kinds.pvc,
      { namespace, name: 'plain' },
      { metadata: { labels: { touched: 'yes' } } },
      { type: 'merge' },
    )
    const witness = await plane.newDataVolume()
    await using _others = hands(witness.namespace)
    await plane.untilPhase(witness, 'Succeeded')
    assert.equal(lines.filter((line) => line === wanted).length, 1)
    assert.deepEqual((await plane.client.list(kinds.pod, { namespace })).items, [])
  })
})
