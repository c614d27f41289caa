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

/** Everything that a role allows on a resource, of the core group unless told, in order. */
function verbsOn(role: Manifest, resource: string, apiGroup = ''): string[] {
  return (role.rules ?? [])
    .filter((rule) => rule.apiGroups.includes(apiGroup) && rule.resources.includes(resource))
    .flatMap(({ verbs }) => verbs)
    .toSorted()
}

describe('the install manifest', () => {
  it('puts everything into the namespace cdi, which carries the label that others look for', () => {
    assert.equal(find('Namespace', 'cdi').metadata.labels?.['cdi.kubevirt.io'], '')
    // But for the right to read which front proxies are to be believed, which is given where that stands.
    const elsewhere = manifests.filter(({ metadata: { namespace = 'cdi' } }) => namespace !== 'cdi')
    assert.deepEqual(
      elsewhere.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`),
      ['RoleBinding kube-system/cdi-extension-apiserver-authentication'],
    )
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

  it('let it make and remove snapshots of any namespace, and only read what storage admins make', () => {
    const group = 'snapshot.storage.k8s.io'
    assert.deepEqual(verbsOn(role, 'volumesnapshots', group), [
      'create',
      'delete',
      'deletecollection',
      'get',
      'list',
      'watch',
    ])
    for (const resource of ['volumesnapshotclasses', 'volumesnapshotcontents']) {
      assert.deepEqual(verbsOn(role, resource, group), ['get', 'list', 'watch'])
    }
  })

  it('let it hand a volume over, and put the sources of clones and transfers where they belong', () => {
    assert.deepEqual(verbsOn(role, 'persistentvolumes'), ['get', 'list', 'patch', 'update', 'watch'])
    for (const resource of ['volumeclonesources', 'objecttransfers', 'datavolumes']) {
      const verbs = verbsOn(role, resource, 'cdi.kubevirt.io')
      for (const verb of ['get', 'list', 'watch', 'create', 'patch', 'delete']) {
        assert.ok(verbs.includes(verb), `${verb} ${resource}`)
      }
    }
    const patchable = ['datasources', 'datavolumes/status', 'objecttransfers/status']
    for (const resource of patchable) assert.ok(verbsOn(role, resource, 'cdi.kubevirt.io').includes('patch'), resource)
  })

  it('let it own what it makes, where a cluster asks for that right', () => {
    const owners = [
      ['', 'persistentvolumeclaims'],
      ['', 'pods'],
      ['cdi.kubevirt.io', 'datavolumes'],
      ['cdi.kubevirt.io', 'objecttransfers'],
      ['cdi.kubevirt.io', 'cdis'],
    ] as const
    for (const [group, resource] of owners) assert.deepEqual(verbsOn(role, `${resource}/finalizers`, group), ['update'])
  })

  it('contain no wildcard', () => {
    for (const rule of role.rules ?? []) {
      assert.ok(![...rule.apiGroups, ...rule.resources, ...rule.verbs].includes('*'), JSON.stringify(rule))
    }
  })

  it('come from these roles and no others', () => {
    const bindings = manifests.filter(({ subjects }) => subjects?.some(({ name }) => name === 'cdi-sa'))
    assert.deepEqual(
      bindings.map(({ kind, metadata, roleRef }) => `${kind} ${metadata.name} → ${roleRef?.name}`),
      ['ClusterRoleBinding cdi-sa → cdi', 'RoleBinding cdi-deployment → cdi-deployment'],
    )
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

  it('to clone from a namespace are a role of their own, which is bound by its owner', () => {
    const role = find('ClusterRole', 'cdi.kubevirt.io:clone-sourcer')
    assert.deepEqual(role.rules, [
      { apiGroups: ['cdi.kubevirt.io'], resources: ['datavolumes/source'], verbs: ['create'] },
    ])
    assert.ok(Object.keys(role.metadata.labels ?? {}).every((key) => !key.includes('aggregate-to')))
    assert.deepEqual(
      manifests.filter(({ roleRef }) => roleRef?.name === role.metadata.name),
      [],
    )
  })

  it('to clone from a namespace are given to its admins and editors only', () => {
    const granting = manifests.filter(({ rules = [] }) =>
      // A rule about paths names no resources.
      rules.some((rule) => 'resources' in rule && rule.resources.includes('datavolumes/source')),
    )
    assert.deepEqual(
      granting.map(({ kind, metadata }) => `${kind} ${metadata.name}`),
      [
        'ClusterRole cdi.kubevirt.io:admin',
        'ClusterRole cdi.kubevirt.io:edit',
        'ClusterRole cdi.kubevirt.io:clone-sourcer',
      ],
    )
  })

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

describe('the rights of the API server and of the upload proxy', () => {
  it('change nothing but the signing key, which only the API server makes', () => {
    const changing = new Set(['create', 'update', 'patch', 'delete', 'deletecollection', '*'])
    const changes = ['cdi-apiserver', 'cdi-uploadproxy'].flatMap((name) =>
      ['ClusterRole', 'Role'].flatMap((kind) =>
        (find(kind, name).rules ?? [])
          .filter(({ verbs }) => verbs.some((verb) => changing.has(verb)))
          .map(({ resources }) => `${kind} ${name}: ${resources.join()}`),
      ),
    )
    assert.deepEqual(changes, [
      'ClusterRole cdi-apiserver: subjectaccessreviews',
      'ClusterRole cdi-apiserver: cdis/finalizers',
      'Role cdi-apiserver: secrets',
      'ClusterRole cdi-uploadproxy: tokenreviews',
      'ClusterRole cdi-uploadproxy: subjectaccessreviews',
    ])
  })

  it('let the API server look up what a clone is made from, and ask whether it may be', () => {
    const role = find('ClusterRole', 'cdi-apiserver')
    const looked = [
      ['', 'namespaces'],
      ['', 'persistentvolumeclaims'],
      ['cdi.kubevirt.io', 'datasources'],
      ['cdi.kubevirt.io', 'volumeclonesources'],
      ['snapshot.storage.k8s.io', 'volumesnapshots'],
    ] as const
    for (const [group, resource] of looked) assert.deepEqual(verbsOn(role, resource, group), ['get'], resource)
    assert.deepEqual(verbsOn(role, 'subjectaccessreviews', 'authorization.k8s.io'), ['create'])
  })

  it('let the proxy see claims, and no Secret at all', () => {
    assert.deepEqual(verbsOn(find('ClusterRole', 'cdi-uploadproxy'), 'persistentvolumeclaims'), ['get'])
    for (const kind of ['ClusterRole', 'Role']) assert.deepEqual(verbsOn(find(kind, 'cdi-uploadproxy'), 'secrets'), [])
  })
})

describe('the Services and what they lead to', () => {
  for (const [service, deployment] of [
    ['cdi-api', 'cdi-apiserver'],
    ['cdi-uploadproxy', 'cdi-uploadproxy'],
  ] as const) {
    it(`${service} leads from 443 to 8443 of ${deployment}`, () => {
      const { selector, ports } = find('Service', service).spec as {
        selector: Record<string, string>
        ports: { port: number; targetPort: number }[]
      }
      assert.deepEqual(selector, { 'cdi.kubevirt.io': deployment })
      assert.deepEqual(
        ports.map(({ port, targetPort }) => [port, targetPort]),
        [[443, 8443]],
      )
      const { template } = find('Deployment', deployment).spec as DeploymentSpec
      assert.equal(template.metadata.labels['cdi.kubevirt.io'], deployment)
      assert.deepEqual(template.spec.securityContext, { runAsNonRoot: true })
    })
  }

  it('the proxy has the public half of the signing key only', () => {
    const { template } = find('Deployment', 'cdi-uploadproxy').spec as {
      template: { spec: { volumes: { name: string; secret: { items?: { key: string }[] } }[] } }
    }
    const keys = template.spec.volumes.find(({ name }) => name === 'token-keys')
    assert.deepEqual(
      keys?.secret.items?.map(({ key }) => key),
      ['id_rsa.pub'],
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
