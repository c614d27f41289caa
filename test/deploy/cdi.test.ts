import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { parseAllDocuments } from 'yaml'

interface Rule {
  apiGroups: string[]
  resources: string[]
  verbs: string[]
}

interface Manifest {
  kind: string
  metadata: { name: string; namespace?: string; labels?: Record<string, string> }
  rules?: Rule[]
  subjects?: { kind: string; name: string }[]
  roleRef?: { name: string }
  spec?: unknown
}

interface DeploymentSpec {
  selector: { matchLabels: Record<string, string> }
  template: {
    metadata: { labels: Record<string, string> }
    spec: {
      serviceAccountName: string
      securityContext: unknown
      containers: {
        name: string
        args: string[]
        env: { name: string; value?: string }[]
        securityContext: { capabilities: { drop: string[] }; [key: string]: unknown }
      }[]
    }
  }
}

const text = await readFile(new URL('../../deploy/cdi.yaml', import.meta.url), 'utf8')
const manifests = parseAllDocuments(text).map((document) => {
  assert.deepEqual(document.errors, [])
  return document.toJS() as Manifest
})

function find(kind: string, name: string): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name)
  assert.ok(found, `${kind} ${name} is missing`)
  return found
}

/** Everything that a role allows on a resource of the core group, in order. */
function verbsOn(role: Manifest, resource: string, apiGroup = ''): string[] {
  return (role.rules ?? [])
    .filter((rule) => rule.apiGroups.includes(apiGroup) && rule.resources.includes(resource))
    .flatMap(({ verbs }) => verbs)
    .toSorted()
}

describe('the install manifest', () => {
  it('puts everything into the namespace cdi, which carries the label that others look for', () => {
    assert.equal(find('Namespace', 'cdi').metadata.labels?.['cdi.kubevirt.io'], '')
    for (const { metadata, kind } of manifests) {
      if (metadata.namespace !== undefined) assert.equal(metadata.namespace, 'cdi', `${kind} ${metadata.name}`)
    }
  })

  it('leaves open nothing but the name of the image', () => {
    assert.deepEqual([...new Set(text.match(/\$\{\w+\}/g))], ['${CDI_IMAGE}'])
  })

  it('names a resource once', () => {
    const names = manifests.map(({ kind, metadata }) => `${kind}/${metadata.namespace ?? ''}/${metadata.name}`)
    assert.equal(new Set(names).size, names.length)
  })
})

describe('the rights of the controller', () => {
  const role = find('ClusterRole', 'cdi')

  it('are exactly those that are probed from outside', () => {
    assert.deepEqual(verbsOn(role, 'events'), ['create', 'get', 'list', 'patch', 'watch'])
    assert.deepEqual(verbsOn(role, 'pods'), ['create', 'delete', 'get', 'list', 'watch'])
    assert.deepEqual(verbsOn(role, 'secrets'), ['create'])
    assert.deepEqual(verbsOn(role, 'persistentvolumeclaims'), [
      'create',
      'delete',
      'deletecollection',
      'get',
      'list',
      'patch',
      'update',
      'watch',
    ])
  })

  it('contain no wildcard', () => {
    for (const rule of role.rules ?? []) {
      assert.ok(![...rule.apiGroups, ...rule.resources, ...rule.verbs].includes('*'), JSON.stringify(rule))
    }
  })

  it('belong to its service account, and to nobody else', () => {
    for (const [kind, name] of [
      ['ClusterRoleBinding', 'cdi-sa'],
      ['RoleBinding', 'cdi-deployment'],
    ] as const) {
      assert.deepEqual(find(kind, name).subjects, [{ kind: 'ServiceAccount', name: 'cdi-sa', namespace: 'cdi' }])
    }
  })
})

describe('the rights of users', () => {
  const editRules = [
    {
      apiGroups: ['cdi.kubevirt.io'],
      resources: [
        'datavolumes',
        'dataimportcrons',
        'datasources',
        'volumeimportsources',
        'volumeuploadsources',
        'volumeclonesources',
      ],
      verbs: ['*'],
    },
    { apiGroups: ['cdi.kubevirt.io'], resources: ['datavolumes/source'], verbs: ['create'] },
    { apiGroups: ['upload.cdi.kubevirt.io'], resources: ['uploadtokenrequests'], verbs: ['*'] },
    {
      apiGroups: ['forklift.cdi.kubevirt.io'],
      resources: ['ovirtvolumepopulators', 'openstackvolumepopulators'],
      verbs: ['*'],
    },
  ]
  const viewRules = [
    {
      apiGroups: ['cdi.kubevirt.io'],
      resources: [
        'cdiconfigs',
        'dataimportcrons',
        'datasources',
        'datavolumes',
        'objecttransfers',
        'storageprofiles',
        'volumeimportsources',
        'volumeuploadsources',
        'volumeclonesources',
      ],
      verbs: ['get', 'list', 'watch'],
    },
    {
      apiGroups: ['forklift.cdi.kubevirt.io'],
      resources: ['ovirtvolumepopulators', 'openstackvolumepopulators'],
      verbs: ['get', 'list', 'watch'],
    },
  ]
  for (const [name, rules] of [
    ['admin', editRules],
    ['edit', editRules],
    ['view', viewRules],
  ] as const) {
    it(`are added to the role ${name} as clients compare them`, () => {
      const role = find('ClusterRole', `cdi.kubevirt.io:${name}`)
      assert.deepEqual(role.rules, rules)
      assert.equal(role.metadata.labels?.[`rbac.authorization.k8s.io/aggregate-to-${name}`], 'true')
    })
  }

  it('let everybody read the configuration', () => {
    assert.deepEqual(find('ClusterRole', 'cdi.kubevirt.io:config-reader').rules, [
      { apiGroups: ['cdi.kubevirt.io'], resources: ['cdiconfigs', 'storageprofiles'], verbs: ['get', 'list', 'watch'] },
    ])
    const { subjects } = find('ClusterRoleBinding', 'cdi.kubevirt.io:config-reader')
    assert.deepEqual(
      subjects?.map(({ kind, name }) => `${kind} ${name}`),
      ['Group system:authenticated', 'Group system:serviceaccount'],
    )
  })
})

describe('the controller Deployment', () => {
  const { selector, template } = find('Deployment', 'cdi-deployment').spec as DeploymentSpec
  const [container] = template.spec.containers

  it('is selected by its component label alone', () => {
    assert.deepEqual(selector.matchLabels, { 'cdi.kubevirt.io': 'cdi-deployment' })
    assert.equal(template.metadata.labels['cdi.kubevirt.io'], 'cdi-deployment')
    assert.equal(template.metadata.labels['prometheus.cdi.kubevirt.io'], 'true')
  })

  it('tells the importer image literally in its first container', () => {
    assert.equal(container?.env.find(({ name }) => name === 'IMPORTER_IMAGE')?.value, '${CDI_IMAGE}')
  })

  it('has nothing but the verbosity as arguments', () => {
    assert.deepEqual(container?.args, ['-v=1'])
  })

  it('satisfies the restricted pod security standard', () => {
    assert.deepEqual(template.spec.securityContext, { runAsNonRoot: true })
    assert.deepEqual(container?.securityContext, {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    })
  })
})
