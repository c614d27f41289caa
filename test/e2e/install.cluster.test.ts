/** What is installed: the API with its explanations, and rights that are neither more nor less than they should be. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Kind, KubeObject } from '../../src/kube/object.ts'
import { kinds } from '../../src/api/kinds.ts'
import { installNamespace, openCluster } from './support/cluster.ts'
import type { TestCluster } from './support/cluster.ts'

interface SubjectAccessReview extends KubeObject {
  spec: object
  status?: { allowed: boolean }
}

const accessReview: Kind<SubjectAccessReview> = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'subjectaccessreviews',
  kind: 'SubjectAccessReview',
  namespaced: false,
}

interface ClusterRole extends KubeObject {
  rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[]
}

const clusterRole: Kind<ClusterRole> = {
  group: 'rbac.authorization.k8s.io',
  version: 'v1',
  plural: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
}

let cluster: TestCluster
before(async () => {
  cluster = await openCluster()
})
after(() => cluster[Symbol.asyncDispose]())

const allVerbs = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection']

/** What the controller may do with a core resource in a namespace that is not its own. */
async function verbsOn(resource: string): Promise<string[]> {
  const allowed = await Promise.all(
    allVerbs.map(async (verb) => {
      const review = await cluster.kube.create(accessReview, {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        metadata: { generateName: '' },
        spec: {
          user: `system:serviceaccount:${installNamespace}:cdi-sa`,
          groups: ['system:serviceaccounts', `system:serviceaccounts:${installNamespace}`, 'system:authenticated'],
          resourceAttributes: { namespace: 'default', resource, verb },
        },
      })
      return review.status?.allowed ? verb : undefined
    }),
  )
  return allowed.filter((verb) => verb !== undefined)
}

describe('the rights of the controller in namespaces of users', () => {
  const expected: Record<string, string[]> = {
    events: ['get', 'list', 'watch', 'create', 'patch'],
    persistentvolumeclaims: allVerbs,
    pods: ['get', 'list', 'watch', 'create', 'delete'],
    secrets: ['create'],
  }
  for (const [resource, verbs] of Object.entries(expected)) {
    it(`on ${resource} are ${verbs.join(', ')} and nothing else`, async () => {
      assert.deepEqual(await verbsOn(resource), verbs)
    })
  }
})

describe("the cluster's own roles", () => {
  it('let those who edit a namespace make DataVolumes, and those who view it see them', async () => {
    for (const [name, verbs] of [
      ['admin', ['*']],
      ['edit', ['*']],
      ['view', ['get', 'list', 'watch']],
    ] as const) {
      const role = await cluster.kube.get(clusterRole, { name })
      const rule = role?.rules.find(
        ({ apiGroups, resources }) => apiGroups.includes('cdi.kubevirt.io') && resources.includes('datavolumes'),
      )
      assert.deepEqual(rule?.verbs, verbs, name)
    }
  })
})

describe('the API', () => {
  it('explains itself in the words that scripts look for', async () => {
    const { body } = await cluster.kube.raw('GET', '/openapi/v3/apis/cdi.kubevirt.io/v1beta1')
    const text = JSON.stringify(body)
    for (const words of [
      'CDIStatus defines the status of the installation',
      'The desired version of the resource',
      'CDIConfigStatus provides the most recently observed status of the CDI',
      'The calculated upload proxy URL',
      'DataVolumeStatus contains the current status of the DataVolume',
      'RestartCount is the number of times the pod populating the DataVolume has',
    ]) {
      assert.ok(text.includes(`"description":"${words}`), words)
    }
  })

  it('shows phase, progress and restarts in lists', async () => {
    const { body } = await cluster.kube.raw(
      'GET',
      '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/datavolumes.cdi.kubevirt.io',
    )
    const { spec } = body as {
      spec: {
        names: { shortNames: string[]; categories: string[] }
        versions: { additionalPrinterColumns: { name: string }[] }[]
      }
    }
    assert.deepEqual(spec.names.shortNames, ['dv', 'dvs'])
    assert.deepEqual(spec.names.categories, ['all'])
    assert.deepEqual(
      spec.versions[0]?.additionalPrinterColumns.map(({ name }) => name),
      ['Phase', 'Progress', 'Restarts', 'Age'],
    )
  })
})

describe('the controller', () => {
  it('tells third parties the importer image and runs under the strictest pod security standard', async () => {
    const namespace = await cluster.kube.get(kinds.namespace, { name: installNamespace })
    assert.equal(namespace?.metadata.labels?.['cdi.kubevirt.io'], '')
    assert.equal(namespace?.metadata.labels?.['pod-security.kubernetes.io/enforce'], 'restricted')
    const deployment = await cluster.kube.get(kinds.deployment, { namespace: installNamespace, name: 'cdi-deployment' })
    const [container] = deployment?.spec?.template.spec?.containers ?? []
    const importer = container?.env?.find(({ name }) => name === 'IMPORTER_IMAGE')?.value
    assert.equal(importer, container?.image)
  })
})
