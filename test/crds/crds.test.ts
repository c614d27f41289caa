import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { structureHash, structureOf } from '../fixtures/crd-structure.ts'

interface Schema {
  type?: string
  description?: string
  properties?: Record<string, Schema>
}

interface Crd {
  metadata: { name: string }
  spec: { names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: Schema } }[] }
}

const directory = new URL('../../crds/', import.meta.url)
/** The recorded schemas that clients rely on; only in the development environment. */
const contract = new URL('../../../shared/contract/crds/', import.meta.url)

const crds = await Promise.all(
  (await readdir(directory)).sort().map(async (file) => {
    const crd = parse(await readFile(new URL(file, directory), 'utf8')) as Crd
    return { file, crd }
  }),
)

const expected = JSON.parse(await readFile(new URL('structure.json', import.meta.url), 'utf8')) as Record<
  string,
  string
>

function schemaOf(kind: string): Schema {
  const found = crds.find(({ crd }) => crd.spec.names.kind === kind)?.crd.spec.versions.at(-1)
  assert.ok(found, `no CRD of kind ${kind}`)
  return found.schema.openAPIV3Schema
}

/** Paths of fields without a description, where a field is one that `kubectl explain` lists. */
function undescribed(schema: Schema, path: string): string[] {
  // Affinity and tolerations are those of a Pod and explained there.
  if (/affinity|tolerations/i.test(path)) return []
  const own = schema.description ? [] : [path]
  const nested = Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
    undescribed(field, `${path}.${name}`),
  )
  return [...own, ...nested]
}

describe('the CRDs', () => {
  it('are the twelve that clients know, in files of their names', () => {
    assert.equal(crds.length, 12)
    for (const { file, crd } of crds) assert.equal(file, `${crd.metadata.name}.yaml`)
  })

  for (const { crd } of crds) {
    const { name } = crd.metadata
    it(`have the structure that clients know: ${name}`, () => {
      assert.equal(structureHash(crd), expected[name], `if the change is meant, put it into test/crds/structure.json`)
    })

    const recorded = new URL(`${name}.json`, contract)
    it(`equal the recorded schema: ${name}`, { skip: existsSync(recorded) ? false : 'no ../shared here' }, async () => {
      assert.equal(structureOf(crd), structureOf(JSON.parse(await readFile(recorded, 'utf8'))))
    })

    it(`explain every field: ${name}`, () => {
      const { kind } = crd.spec.names
      for (const version of crd.spec.versions) {
        // The API server explains `metadata` itself and takes no words of ours about it.
        assert.deepEqual(undescribed(version.schema.openAPIV3Schema, kind), [`${kind}.metadata`])
      }
    })
  }

  it('begin the explanations that scripts look for with the known words', () => {
    const words: [kind: string, field: string[], text: string][] = [
      ['CDI', ['status'], 'CDIStatus defines the status of the installation'],
      ['CDI', ['status', 'targetVersion'], 'The desired version of the resource'],
      ['CDIConfig', ['status'], 'CDIConfigStatus provides the most recently observed status of the CDI'],
      ['CDIConfig', ['status', 'uploadProxyURL'], 'The calculated upload proxy URL'],
      ['DataVolume', ['status'], 'DataVolumeStatus contains the current status of the DataVolume'],
      [
        'DataVolume',
        ['status', 'restartCount'],
        'RestartCount is the number of times the pod populating the DataVolume has',
      ],
    ]
    for (const [kind, field, text] of words) {
      const schema = field.reduce<Schema | undefined>((parent, name) => parent?.properties?.[name], schemaOf(kind))
      assert.ok(schema?.description?.startsWith(text), `${kind}.${field.join('.')}: ${schema?.description}`)
    }
  })
})

describe('the structure of a CRD', () => {
  it('ignores descriptions but not fields called description', () => {
    const bare = { properties: { description: { type: 'string' }, a: { type: 'object' } } }
    const described = {
      description: 'x',
      properties: { a: { type: 'object', description: 'y' }, description: { type: 'string' } },
    }
    assert.equal(structureOf(bare), structureOf(described))
    assert.notEqual(structureOf(bare), structureOf({ properties: { a: { type: 'object' } } }))
  })
})
