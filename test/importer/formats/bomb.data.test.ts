import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const bombBytes = 2 * 1024 ** 3
const mib = 1024 ** 2
const decodeBomb = fileURLToPath(new URL('fixtures/decode-bomb.ts', import.meta.url))

// Decoders use their buffers again; the library in the process makes new ones, of which V8 lets 64 MiB lie before it
// collects them. Without back-pressure it is 2 GiB.
const cases = [
  { name: 'gzip', packer: ['gzip', '-1c'], mostMib: 64 },
  { name: 'zstd', packer: ['zstd', '-qc'], mostMib: 64 },
  { name: 'xz program', packer: ['xz', '-T2', '-0c'], mostMib: 64 },
  { name: 'lzma-native', packer: ['xz', '-T2', '-0c'], mostMib: 192 },
] as const

describe('a bomb of 2 GiB of zeros', { timeout: 600_000 }, () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'cdi-bomb-'))
    await using zeros = await open(path.join(directory, 'zeros'), 'w')
    await zeros.truncate(bombBytes)
  })
  after(() => rm(directory, { recursive: true }))

  for (const { name, packer, mostMib } of cases) {
    it(`is decoded in at most ${mostMib} MiB by ${name}`, async () => {
      const packed = path.join(directory, 'packed')
      const [file, options] = packer
      execFileSync('sh', [
        '-c',
        `"$1" "$2" ${packer.length > 2 ? '"$3"' : ''} < "$0/zeros" > "$0/packed"`,
        directory,
        file,
        options,
        packer[2] ?? '',
      ])
      const { stdout } = await run(process.execPath, [decodeBomb, name, packed])
      const { plainBytes, grownBytes } = JSON.parse(stdout) as { plainBytes: number; grownBytes: number }
      assert.equal(plainBytes, bombBytes)
      assert.ok(grownBytes < mostMib * mib, `${grownBytes / mib} MiB`)
    })
  }
})
