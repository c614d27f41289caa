import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { imageOfUrl, isInsecureRegistry, registryOfUrl } from '../../../../src/controllers/import/image-reference.ts'

describe('the URL of a container image', () => {
  for (const [url, image] of [
    ['docker://registry.example:5000/disks/fedora:41', 'registry.example:5000/disks/fedora:41'],
    ['docker://fedora:41', 'fedora:41'],
    ['docker://quay.io/disks/fedora@sha256:00', 'quay.io/disks/fedora@sha256:00'],
    ['docker://[::1]:5000/disk', '[::1]:5000/disk'],
    ['DOCKER://quay.io/disk ', 'quay.io/disk'],
    ['fedora', 'fedora'],
    ['fedora:41', 'fedora:41'],
  ] as const) {
    it(`gives the kubelet ${image} for ${url}`, () => assert.equal(imageOfUrl(url), image))
  }

  for (const [url, registry] of [
    ['docker://registry.example:5000/disk', 'registry.example:5000'],
    ['docker://localhost/disk', 'localhost'],
    ['docker://registry:5000/disk', 'registry:5000'],
    ['docker://[::1]:5000/disk', '[::1]:5000'],
    ['docker://fedora:41', 'docker.io'],
    ['docker://kubevirt/fedora', 'docker.io'],
    ['oci-archive:/disk.tar', undefined],
    ['fedora', undefined],
  ] as const) {
    it(`names the registry ${registry} in ${url}`, () => assert.equal(registryOfUrl(url), registry))
  }
})

describe('a registry', () => {
  const settings = ['registry.example:5000', 'plain.example', 'index.docker.io']
  for (const [url, insecure] of [
    ['docker://registry.example:5000/disk', true],
    ['docker://registry.example/disk', false],
    ['docker://registry.example:5001/disk', false],
    ['docker://plain.example/a/b/disk:1', true],
    ['docker://plain.example:443/disk', false],
    ['docker://not.plain.example/disk', false],
    ['docker://fedora:41', true],
    ['docker://docker.io/kubevirt/fedora', true],
    ['docker://registry-1.docker.io/kubevirt/fedora', true],
    ['oci-archive:/plain.example/disk', false],
  ] as const) {
    it(`is ${insecure ? 'not verified' : 'verified'} for ${url}`, () => {
      assert.equal(isInsecureRegistry(url, settings), insecure)
    })
  }

  it('that a short name only seems to name stays verified, as Docker Hub', () => {
    assert.equal(isInsecureRegistry('docker://registry/disk', ['registry']), false)
  })
})
