import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parseReference } from '../../../../importer/sources/registry/reference.ts'
import type { DockerReference } from '../../../../importer/sources/registry/reference.ts'
import { CdiError } from '../../../../src/errors.ts'

const sha256 = `sha256:${'0123456789abcdef'.repeat(4)}`
const sha512 = `sha512:${'0123456789abcdef'.repeat(8)}`

function docker(text: string): DockerReference {
  const reference = parseReference(text)
  assert.ok(reference.transport === 'docker')
  return reference
}

/** Registry, host of the API, repository, tag or digest. */
function parts(text: string): string[] {
  const { registry, apiHost, repository, version } = docker(text)
  return [registry, apiHost, repository, version]
}

describe('references of images in registries', () => {
  it('fills in what Docker fills in', () => {
    const hub = ['docker.io', 'registry-1.docker.io']
    assert.deepEqual(parts('docker://fedora'), [...hub, 'library/fedora', 'latest'])
    assert.deepEqual(parts('docker://fedora:40'), [...hub, 'library/fedora', '40'])
    assert.deepEqual(parts('docker://kubevirt/fedora'), [...hub, 'kubevirt/fedora', 'latest'])
    assert.deepEqual(parts('docker://docker.io/fedora'), [...hub, 'library/fedora', 'latest'])
    assert.deepEqual(parts('docker://index.docker.io/library/fedora'), [...hub, 'library/fedora', 'latest'])
    assert.deepEqual(parts(`docker://fedora@${sha256}`), [...hub, 'library/fedora', sha256])
  })

  it('takes the first component for a registry if it has a dot or a port or is localhost', () => {
    const quay = ['quay.io', 'quay.io']
    assert.deepEqual(parts('docker://quay.io/a'), [...quay, 'a', 'latest'])
    assert.deepEqual(parts('docker://quay.io/a/b/c:x'), [...quay, 'a/b/c', 'x'])
    assert.deepEqual(parts('docker://localhost/a'), ['localhost', 'localhost', 'a', 'latest'])
    assert.deepEqual(parts('docker://registry:5000/a'), ['registry:5000', 'registry:5000', 'a', 'latest'])
    assert.deepEqual(parts('docker://10.0.0.1:5000/a:1'), ['10.0.0.1:5000', '10.0.0.1:5000', 'a', '1'])
    assert.deepEqual(parts('docker://[fd00::1]:5000/a'), ['[fd00::1]:5000', '[fd00::1]:5000', 'a', 'latest'])
    assert.equal(docker('docker://registry/a').repository, 'registry/a')
  })

  it('takes digests by sha256 and sha512', () => {
    assert.equal(docker(`docker://quay.io/a@${sha256}`).digest, sha256)
    assert.equal(docker(`docker://quay.io/a@${sha512}`).digest, sha512)
    assert.equal(docker('docker://quay.io/a:1').digest, undefined)
  })

  it('forgives blanks around it and capitals in the scheme, as the controller does', () => {
    assert.deepEqual(parseReference(' DOCKER://quay.io/org/disk:1\n'), parseReference('docker://quay.io/org/disk:1'))
    assert.deepEqual(parseReference('OCI-archive:Disk.tar'), parseReference('oci-archive:Disk.tar'))
  })

  it('tells people the whole name', () => {
    assert.equal(docker('docker://fedora').name, 'docker://docker.io/library/fedora:latest')
    assert.equal(docker(`docker://quay.io/a@${sha256}`).name, `docker://quay.io/a@${sha256}`)
  })

  for (const [text, why] of [
    [`docker://fedora:40@${sha256}`, /both a tag and digest/],
    ['docker://', /names no repository/],
    ['docker://quay.io/', /names no repository/],
    ['docker://Fedora', /must be lowercase \("Fedora"\)/],
    ['docker://quay.io/a//b', /invalid repository name/],
    ['docker://quay.io/a/', /invalid repository name/],
    ['docker://quay.io/a_-b', /invalid repository name/],
    ['docker://quay.io/a/../b', /invalid repository name/],
    ['docker://quay.io/a:', /invalid tag ""/],
    [`docker://quay.io/a:${'x'.repeat(129)}`, /invalid tag/],
    ['docker://quay.io/a:.x', /invalid tag/],
    ['docker://quay.io/a?b', /invalid repository name/],
    [`docker://quay.io/${'a/'.repeat(200)}a`, /more than 255 characters/],
    ['docker://quay.io:99999/a', /invalid registry/],
    ['docker://1.2.3.999/a', /invalid registry/],
    ['docker://-a.b/c', /invalid registry/],
    ['docker://quay.io/a@sha256:abc', /must be a digest/],
    [`docker://quay.io/a@${sha256.toUpperCase()}`, /must be a digest/],
    [`docker://quay.io/a@md5:${'0'.repeat(32)}`, /must be a digest/],
    ['quay.io/a', /neither with docker:\/\/ nor/],
    ['https://quay.io/a', /neither with docker:\/\/ nor/],
    ['docker:quay.io/a', /neither with docker:\/\/ nor/],
    [`docker://${'a'.repeat(6000)}`, /too long/],
  ] as const) {
    it(`refuses ${text.slice(0, 60)}`, () => {
      assert.throws(() => parseReference(text), { code: 'CDI_REGISTRY_REFERENCE', message: /^Could not parse image: / })
      assert.throws(() => parseReference(text), { message: why })
    })
  }

  it('never shows a password that somebody put before the host', () => {
    assert.throws(
      () => parseReference('docker://me:hunter2@quay.io/a'),
      (error: Error) => !error.message.includes('hunter2'),
    )
  })

  const component = fc.stringMatching(/^[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}$/)
  const registry = fc.oneof(
    fc.domain(),
    fc.ipV4(),
    fc.tuple(fc.domain(), fc.nat({ max: 65_535 })).map(([host, port]) => `${host}:${port}`),
  )
  const version = fc.oneof(
    fc.stringMatching(/^:[A-Za-z0-9_][\w.-]{0,127}$/),
    fc.stringMatching(/^@sha256:[0-9a-f]{64}$/),
    fc.constant(''),
  )

  it('takes valid references apart and its own names again', () => {
    fc.assert(
      fc.property(registry, fc.array(component, { minLength: 1, maxLength: 4 }), version, (host, path, end) => {
        const reference = docker(`docker://${host}/${path.join('/')}${end}`)
        assert.equal(reference.registry, host)
        assert.equal(reference.repository, path.join('/'))
        assert.equal(reference.version, end === '' ? 'latest' : end.slice(1))
        assert.deepEqual(docker(reference.name), reference)
      }),
    )
  })

  it('asks the named host and no other, whatever the reference', () => {
    const anything = fc.oneof(
      fc.string(),
      fc.string({ unit: 'grapheme' }),
      fc.webUrl(),
      fc.tuple(registry, fc.string()).map((two) => two.join('/')),
    )
    fc.assert(
      fc.property(anything, (text) => {
        let reference: DockerReference
        try {
          reference = docker(`docker://${text}`)
        } catch (error) {
          assert.ok(error instanceof CdiError && error.code === 'CDI_REGISTRY_REFERENCE')
          return
        }
        const url = new URL(`https://${reference.apiHost}/v2/${reference.repository}/manifests/${reference.version}`)
        assert.equal(url.username + url.password + url.search + url.hash, '')
        assert.equal(url.pathname, `/v2/${reference.repository}/manifests/${reference.version}`)
        assert.ok(reference.apiHost === 'registry-1.docker.io' || text.startsWith(`${reference.apiHost}/`))
      }),
      { numRuns: 1000 },
    )
  })
})

describe('references of images in archives', () => {
  it('splits path and reference at the first colon', () => {
    assert.deepEqual(parseReference('oci-archive:/a/b.tar'), {
      transport: 'oci-archive',
      path: '/a/b.tar',
      name: 'oci-archive:/a/b.tar',
    })
    assert.deepEqual(parseReference('oci-archive:b.tar:quay.io/a:1'), {
      transport: 'oci-archive',
      path: 'b.tar',
      image: 'quay.io/a:1',
      name: 'oci-archive:b.tar:quay.io/a:1',
    })
  })

  for (const text of ['oci-archive:', 'oci-archive::x', 'oci-archive:a:', 'oci-archive:a\0b', 'oci:a']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseReference(text), { code: 'CDI_REGISTRY_REFERENCE', message: /^Could not parse image: / })
    })
  }
})
