import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseVerbosity } from '../../../src/bin/flags.ts'

describe('flags of a program in a pod', () => {
  for (const [args, verbosity] of [
    [[], 1],
    [['-v=3'], 3],
    [['--v=0'], 0],
    [['-v', '5', '-skip_headers'], 5],
    [['-skip_headers', '-v=2'], 2],
    [['-v=lots'], 1],
    [['-v'], 1],
    [['-vmodule=x=9'], 1],
  ] as const) {
    it(`reads ${JSON.stringify(args)} as verbosity ${verbosity}`, () => {
      assert.equal(parseVerbosity(args), verbosity)
    })
  }
})
