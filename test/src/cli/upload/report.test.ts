import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import { humanUploadReporter, jsonUploadReporter, uploadLine } from '../../../../src/cli/upload/report.ts'
import { CdiError } from '../../../../src/errors.ts'
import { TestClock } from '../../../../src/kube/clock.ts'

const mebibyte = 1024 * 1024

function collector(terminal: boolean) {
  const chunks: string[] = []
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk.toString())
      done()
    },
  })
  return { text: () => chunks.join(''), stream: Object.assign(stream, { isTTY: terminal, columns: 80 }) }
}

describe('line of an upload', () => {
  const line = { doneBytes: 256 * mebibyte, totalBytes: 1024 * mebibyte, bytesPerSecond: 64 * mebibyte, columns: 200 }

  it('shows bar, percent, bytes, rate and time left', () => {
    assert.equal(
      uploadLine({ ...line, bar: true }),
      '[######..................]   25.0 %  256.0 MiB of 1.00 GiB  64.0 MiB/s  0:12 left',
    )
    assert.equal(
      uploadLine({ ...line, bar: false, doneBytes: 1024 * mebibyte }),
      '100.0 %  1.00 GiB of 1.00 GiB  64.0 MiB/s',
    )
  })

  it('never says 100 % too early, and shows what is known of a stream', () => {
    assert.match(uploadLine({ ...line, bar: false, doneBytes: 1024 * mebibyte - 1 }), /99\.9 %/)
    assert.equal(uploadLine({ ...line, bar: true, totalBytes: undefined }), '256.0 MiB  64.0 MiB/s')
    assert.ok(uploadLine({ ...line, bar: true, columns: 30 }).length < 30)
  })
})

describe('reports', () => {
  it('draw a bar on a terminal and clear it for other lines', () => {
    const err = collector(true)
    const out = collector(false)
    const reporter = humanUploadReporter({ out: out.stream, err: err.stream, clock: new TestClock() })
    reporter.progress(1, 10)
    reporter.say('hello')
    const [, bar, cleared] = err.text().split('\r\u001B[2K')
    assert.match(bar ?? '', /^\[##\.{22}\]/)
    assert.equal(cleared, 'hello\n')
    reporter.done({ namespace: 'n', name: 'd', sizeBytes: mebibyte, sentBytes: mebibyte, seconds: 2 })
    assert.equal(out.text(), 'n/d: 1.00 MiB in 0:02, 512.0 KiB/s\n')
  })

  it('write plain lines now and then elsewhere, and trouble that lasts only once', async () => {
    const clock = new TestClock()
    const err = collector(false)
    const reporter = humanUploadReporter({ out: err.stream, err: err.stream, clock })
    for (let second = 0; second < 25; second += 1) {
      reporter.progress(second, 100)
      await clock.advance(1000)
    }
    for (const waitMs of [100, 2000, 4000]) reporter.trouble('503: no', waitMs)
    const lines = err.text().trimEnd().split('\n')
    assert.equal(lines.length, 4)
    assert.match(lines[1] ?? '', /^ 10\.0 % {2}10 B of 100 B {2}1 B\/s/)
    assert.equal(lines[3], '503: no; trying again')
  })

  it('are one JSON object a line for programs', () => {
    const out = collector(false)
    const reporter = jsonUploadReporter({ out: out.stream, err: out.stream, clock: new TestClock() })
    reporter.say('step')
    reporter.progress(1, 2)
    reporter.progress(1, 2)
    reporter.trouble('t', 1.4)
    reporter.failed(new CdiError('CDI_UPLOAD_TARGET', 'no'))
    const events = out
      .text()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; code?: string; remedy?: string })
    assert.deepEqual(
      events.map(({ event }) => event),
      ['step', 'progress', 'trouble', 'failed'],
    )
    assert.equal(events[3]?.code, 'CDI_UPLOAD_TARGET')
    assert.ok(events[3].remedy)
  })
})
