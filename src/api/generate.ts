/**
 * Makes the types of src/api/*.gen.ts from the CRDs in crds/: one file a CRD, one interface an object of its schema,
 * with the descriptions as doc comments. Run by `npm run generate`; a test says when the files are stale.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'

/** The parts of a structural schema (KEP-1693) that matter for types. */
interface Schema {
  type?: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object'
  description?: string
  format?: string
  nullable?: boolean
  enum?: unknown[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  additionalProperties?: Schema | boolean
  'x-kubernetes-int-or-string'?: boolean
  'x-kubernetes-preserve-unknown-fields'?: boolean
}

interface CustomResourceDefinition {
  metadata: { name: string }
  spec: {
    group: string
    names: { kind: string; singular: string }
    versions: { name: string; storage: boolean; schema: { openAPIV3Schema: Schema } }[]
  }
}

const crdDirectory = new URL('../../crds/', import.meta.url)

const identifier = /^[A-Za-z_$][\w$]*$/

/** File name → contents of every generated file. */
export async function generateTypes(): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  const names = (await readdir(crdDirectory)).filter((name) => name.endsWith('.yaml')).sort()
  for (const name of names) {
    const crd = parse(await readFile(new URL(name, crdDirectory), 'utf8')) as CustomResourceDefinition
    files.set(`${crd.spec.names.singular}.gen.ts`, typesOf(crd, name))
  }
  return files
}

/** The contents of the file for one CRD: its storage version. */
function typesOf(crd: CustomResourceDefinition, source: string): string {
  const version = crd.spec.versions.find(({ storage }) => storage)
  if (!version) throw new Error(`${source}: no storage version`)
  const { kind } = crd.spec.names
  const {
    apiVersion: _apiVersion,
    kind: _kind,
    metadata: _metadata,
    ...properties
  } = version.schema.openAPIV3Schema.properties ?? {}
  const interfaces: string[] = []
  const members = membersOf({ ...version.schema.openAPIV3Schema, properties }, kind, interfaces)
  return [
    `// Made from crds/${source} by \`npm run generate\`. Do not edit.`,
    `import type { KubeObject } from '../kube/object.ts'`,
    '',
    `${docComment(version.schema.openAPIV3Schema.description, '')}export interface ${kind} extends KubeObject {\n${members}}`,
    ...interfaces.toReversed(),
    '',
  ].join('\n')
}

/** The members of an interface; interfaces of nested objects are added to `interfaces`. */
function membersOf(schema: Schema, name: string, interfaces: string[]): string {
  return Object.entries(schema.properties ?? {})
    .map(([key, property]) => {
      const type = typeOf(property, `${name}${pascalCase(key)}`, interfaces)
      const required = schema.required?.includes(key) ?? false
      const left = identifier.test(key) ? key : JSON.stringify(key)
      const member = required ? `${left}: ${type}` : `${left}?: ${type} | undefined`
      return `${docComment(property.description, '  ')}  ${member}\n`
    })
    .join('')
}

function typeOf(schema: Schema, name: string, interfaces: string[]): string {
  const type = bareTypeOf(schema, name, interfaces)
  return schema.nullable ? `${type} | null` : type
}

function bareTypeOf(schema: Schema, name: string, interfaces: string[]): string {
  if (schema['x-kubernetes-int-or-string']) return 'number | string'
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  switch (schema.type) {
    case 'string':
      return 'string'
    case 'integer':
    case 'number':
      return 'number'
    case 'boolean':
      return 'boolean'
    case 'array': {
      const item = typeOf(schema.items ?? {}, `${name}Item`, interfaces)
      return item.includes(' ') ? `(${item})[]` : `${item}[]`
    }
    case 'object': {
      if (schema.properties) {
        const members = membersOf(schema, name, interfaces)
        interfaces.push(`\n${docComment(schema.description, '')}export interface ${name} {\n${members}}`)
        return name
      }
      if (typeof schema.additionalProperties === 'object') {
        return `Record<string, ${typeOf(schema.additionalProperties, `${name}Value`, interfaces)}>`
      }
      return 'Record<string, unknown>'
    }
    case undefined:
      return 'unknown'
    default:
      throw new Error(`unknown type of schema: ${String(schema.type satisfies never)}`)
  }
}

function pascalCase(key: string): string {
  return key.replace(/(^|[^A-Za-z0-9])([a-z])/g, (_match, _before, letter: string) => letter.toUpperCase())
}

function docComment(text: string | undefined, indent: string): string {
  return text ? `${indent}/** ${text.replaceAll('*/', '* /').replaceAll(/\s+/g, ' ').trim()} */\n` : ''
}

if (import.meta.main) {
  for (const [name, contents] of await generateTypes()) {
    const path = fileURLToPath(new URL(name, import.meta.url))
    await writeFile(path, contents)
    console.log(path)
  }
}
