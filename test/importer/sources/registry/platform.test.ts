import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Descriptor, ImageIndex, Platform } from '../../../../importer/sources/registry/manifest.ts'
import { assertArchitecture, chooseInstance, goArchitecture } from '../../../../importer/sources/registry/platform.ts'

function member(digest: string, platform?: Partial<Platform>, annotations: Record<string, string> = {}): Descriptor {
  const full = { os: 'linux', architecture: '', variant: '', ...platform }
  return { mediaType: 'm', digest, sizeBytes: 1, annotations, ...(platform === undefined ? {} : { platform: full }) }
}

function choose(
  members: readonly Descriptor[],
  architecture: string,
  noun: ImageIndex['noun'] = 'image index',
): string {
  return chooseInstance({ kind: 'index', mediaType: 'm', noun, members }, architecture).digest
}

describe('choice of the platform', () => {
  it('goes by the architecture, among Linux images', () => {
    const members = [
      member('windows', { os: 'windows', architecture: 'arm64' }),
      member('amd64', { architecture: 'amd64' }),
      member('arm64', { architecture: 'arm64' }),
    ]
    assert.equal(choose(members, 'arm64'), 'arm64')
    assert.equal(choose(members, 'amd64'), 'amd64')
  })

  it('prefers an image without a variant and takes one with a variant before none', () => {
    const v8 = member('v8', { architecture: 'arm64', variant: 'v8' })
    assert.equal(choose([v8], 'arm64'), 'v8')
    assert.equal(choose([v8, member('plain', { architecture: 'arm64' })], 'arm64'), 'plain')
  })

  it('never takes what build tools attest', () => {
    const attestation = member('a', { os: 'unknown', architecture: 'unknown' })
    const marked = member('b', undefined, { 'vnd.docker.reference.type': 'attestation-manifest' })
    assert.equal(choose([attestation, marked, member('image')], 'amd64'), 'image')
    assert.throws(() => choose([attestation, marked], 'unknown'), { code: 'CDI_REGISTRY_PLATFORM' })
  })

  it('takes an image that claims no platform if there is no better one', () => {
    const members = [member('any'), member('arm64', { architecture: 'arm64' })]
    assert.equal(choose(members, 'arm64'), 'arm64')
    assert.equal(choose(members, 's390x'), 'any')
  })

  it('says in the words of the contract that there is none', () => {
    const members = [member('arm64', { architecture: 'arm64' })]
    const text = (noun: string): string =>
      `Error retrieving image: choosing image instance: no image found in ${noun} for architecture "s390x", variant "", OS "linux"`
    assert.throws(() => choose(members, 's390x'), {
      code: 'CDI_REGISTRY_PLATFORM',
      message: text('image index'),
      details: { architecture: 's390x', available: ['linux/arm64'] },
    })
    assert.throws(() => choose(members, 's390x', 'manifest list'), { message: text('manifest list') })
  })

  it('checks a lone image only against what was asked for, and only if it says something', () => {
    assertArchitecture({ found: 'arm64', wanted: undefined })
    assertArchitecture({ found: undefined, wanted: 'arm64' })
    assertArchitecture({ found: 'arm64', wanted: 'arm64' })
    assert.throws(() => assertArchitecture({ found: 'amd64', wanted: 'arm64' }), {
      code: 'CDI_REGISTRY_PLATFORM',
      message: `Error validating architecture: manifest image architecture: "amd64" doesn't match requested architecture: "arm64"`,
    })
  })

  it('knows the words of Go for the machines of Node', () => {
    assert.deepEqual(['x64', 'arm64', 's390x', 'ppc64', 'ia32'].map(goArchitecture), [
      'amd64',
      'arm64',
      's390x',
      'ppc64le',
      '386',
    ])
  })
})
