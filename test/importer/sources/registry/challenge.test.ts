import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parseChallenges } from '../../../../importer/sources/registry/challenge.ts'

function parsed(header: string): [scheme: string, parameters: Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])
}

describe('challenges of a registry', () => {
  it('reads what Docker Hub sends', () => {
    const header =
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/fedora:pull"'
    assert.deepEqual(parsed(header), [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:library/fedora:pull',
        },
      ],
    ])
  })

  it('keeps the commas of a quoted value', () => {
    assert.deepEqual(parsed('Bearer realm="a",scope="repository:x:pull,push"'), [
      ['bearer', { realm: 'a', scope: 'repository:x:pull,push' }],
    ])
  })

  it('reads several challenges of one header', () => {
    assert.deepEqual(parsed('Negotiate, NTLM TlRMTVNTUAABAAAA==, Basic realm="a b", BEARER Realm = "c" , service=d'), [
      ['negotiate', {}],
      ['ntlm', {}],
      ['basic', { realm: 'a b' }],
      ['bearer', { realm: 'c', service: 'd' }],
    ])
  })

  it('undoes escapes and forgives missing quotes', () => {
    assert.deepEqual(parsed('Bearer realm=https://a/token,service="say \\"hi\\" \\\\"'), [
      ['bearer', { realm: 'https://a/token', service: 'say "hi" \\' }],
    ])
  })

  it('lets the first of a repeated parameter count', () => {
    assert.deepEqual(parsed('Bearer realm="a",realm="b"'), [['bearer', { realm: 'a' }]])
  })

  it('gives up where it stops making sense and keeps what came before', () => {
    assert.deepEqual(parsed('Basic realm="a", Bearer realm="unterminated'), [
      ['basic', { realm: 'a' }],
      ['bearer', {}],
    ])
  })

  const word = fc.stringMatching(/^[a-z]{1,8}$/)
  const value = fc.string({ unit: 'binary-ascii', maxLength: 30 }).map((text) => text.replaceAll(/[\r\n\0]/g, ''))

  it('reads back what is written by the rules', () => {
    const parameters = fc.dictionary(word, value, { minKeys: 1, maxKeys: 5, noNullPrototype: true })
    fc.assert(
      fc.property(fc.array(fc.tuple(word, parameters), { maxLength: 5 }), (challenges) => {
        const header = challenges
          .map(([scheme, named]) => {
            const list = Object.entries(named).map(([key, text]) => `${key}="${text.replaceAll(/["\\]/g, '\\$&')}"`)
            return `${scheme} ${list.join(', ')}`
          })
          .join(', ')
        assert.deepEqual(parsed(header), challenges)
      }),
    )
  })

  it('survives anything, within bounds', () => {
    const hostile = fc.oneof(
      fc.string({ maxLength: 500 }),
      fc
        .array(fc.constantFrom('Bearer ', 'realm', '=', '"', '\\', ',', ' ', 'a', '\t'), { maxLength: 200 })
        .map((all) => all.join('')),
      fc.constantFrom(
        'a,'.repeat(50_000),
        `a ${'b=c,'.repeat(50_000)}`,
        `a ${'b'.repeat(100_000)}`,
        `a b="${'\\"'.repeat(50_000)}`,
      ),
    )
    fc.assert(
      fc.property(hostile, (header) => {
        const challenges = parseChallenges(header)
        assert.ok(challenges.length <= 16)
        assert.ok(challenges.every(({ parameters }) => parameters.size <= 32))
      }),
    )
  })
})
