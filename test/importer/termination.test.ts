import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { failure, success, writeTermination } from '../../importer/termination.ts'
import { CdiError } from '../../src/errors.ts'

describe('termination message', () => {
  it('of an import is what clients see today', () => {
    assert.deepEqual(success({ blank: false, preallocationApplied: false }), {
      exitCode: 0,
      text: '{"scratchSpaceRequired":false,"preallocationApplied":false,"message":"Import Complete"}',
    })
  })

  it('of a blank disk says nothing about scratch', () => {
    assert.equal(
      success({ blank: true, preallocationApplied: true }).text,
      '{"preallocationApplied":true,"message":"Import Complete"}',
    )
  })

  it('hands on the labels that the image wants on the claim, if there are any', () => {
    const labels = { 'kubevirt.io/os': 'linux' }
    assert.equal(
      success({ blank: false, preallocationApplied: false, labels }).text,
      '{"scratchSpaceRequired":false,"preallocationApplied":false,"labels":{"kubevirt.io/os":"linux"},"message":"Import Complete"}',
    )
    assert.ok(!success({ blank: false, preallocationApplied: false, labels: {} }).text.includes('labels'))
  })

  it('asks for scratch with exit code 0', () => {
    const { exitCode, text } = failure(new CdiError('CDI_SCRATCH_REQUIRED', 'no scratch'))
    assert.equal(exitCode, 0)
    assert.equal((JSON.parse(text) as { scratchSpaceRequired: boolean }).scratchSpaceRequired, true)
  })

  it('of a wrong checksum is JSON with the message as only key and exit code 0, so that nothing is tried again', () => {
    const message =
      'Unable to process data: checksum validation failed: checksum mismatch: expected md5:0, calculated md5:1'
    assert.deepEqual(failure(new CdiError('CDI_CHECKSUM_MISMATCH', message)), {
      exitCode: 0,
      text: JSON.stringify({ message }),
    })
  })

  it('of any other fault is one line of plain text of at most 4096 bytes and exit code 1', () => {
    const { exitCode, text } = failure(
      new CdiError('CDI_CONVERT_FAILED', `first line\n  second line ${'ä'.repeat(5000)}`),
    )
    assert.equal(exitCode, 1)
    assert.match(text, /^first line second line ä/)
    assert.ok(Buffer.byteLength(text) <= 4096)
    assert.ok(!text.includes('\n') && !text.includes('\uFFFD'))
  })

  it('is written to the log, whose absence outside of a pod is no fault', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'cdi-termination-'))
    try {
      await writeTermination(join(directory, 'log'), { exitCode: 0, text: 'done' })
      assert.equal(await readFile(join(directory, 'log'), 'utf8'), 'done')
      await writeTermination(join(directory, 'missing', 'log'), { exitCode: 0, text: 'done' })
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
