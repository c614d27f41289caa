import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseUpload } from '../../../../src/cli/upload/options.ts'

const refused = (args: readonly string[], message: RegExp, code = 'CDI_USAGE'): void =>
  assert.throws(() => parseUpload(args), { code, message })

describe('options of cdi upload', () => {
  it('need no more than a file and a volume', () => {
    assert.deepEqual(parseUpload(['disk.qcow2', '--dv', 'disk']), {
      file: 'disk.qcow2',
      target: { kind: 'dv', name: 'disk' },
      forceBind: false,
      archive: false,
      insecure: false,
      waitMs: 300_000,
      parallel: 4,
      verbose: false,
      json: false,
    })
  })

  it('say everything else', () => {
    const line =
      '- --pvc c -n ns --size 10Gi --storage-class s --access-mode readwritemany --volume-mode block --force-bind' +
      ` --checksum md5:${'A'.repeat(32)} --uploadproxy-url https://p --ca ca.pem --kubeconfig k --context x --wait-secs 7` +
      ' --parallel 1 --verbose --json'
    assert.deepEqual(parseUpload(line.split(' ')), {
      file: '-',
      target: { kind: 'pvc', name: 'c' },
      namespace: 'ns',
      sizeBytes: 10 * 1024 ** 3,
      storageClass: 's',
      accessMode: 'ReadWriteMany',
      volumeMode: 'Block',
      forceBind: true,
      archive: false,
      checksum: { algorithm: 'md5', hex: 'a'.repeat(32) },
      proxyUrl: 'https://p',
      caFile: 'ca.pem',
      insecure: false,
      kubeconfig: 'k',
      context: 'x',
      waitMs: 7000,
      parallel: 1,
      verbose: true,
      json: true,
    })
  })

  it('are refused where they make no sense', () => {
    refused([], /expected one FILE/)
    refused(['a', 'b', '--dv', 'd'], /expected one FILE/)
    refused(['a'], /give the volume/)
    refused(['a', '--dv', 'd', '--pvc', 'd'], /not both/)
    refused(['a', '--dv', 'd', '--size', '-1Gi'], /--size/)
    refused(['a', '--dv', 'd', '--size', 'huge'], /--size huge is no size/)
    refused(['a', '--dv', 'd', '--access-mode', 'RWO'], /ReadWriteOnce/)
    refused(['a', '--dv', 'd', '--volume-mode', 'tape'], /filesystem, block/)
    refused(['a', '--dv', 'd', '--archive', '--volume-mode', 'block'], /file system/)
    refused(['a', '--dv', 'd', '--ca', 'x', '--insecure'], /contradict/)
    refused(['a', '--dv', 'd', '--parallel', '0'], /from 1 to 16/)
    refused(['a', '--dv', 'd', '--wait-secs', '1.5'], /whole number/)
    refused(['a', '--dv', 'd', '--nonsense'], /nonsense/)
    refused(['a', '--dv', 'd', '--checksum', 'sha256:ab'], /64/, 'CDI_CHECKSUM_INVALID')
  })

  it('ask for help', () => {
    assert.equal(parseUpload(['--help']), 'help')
    assert.equal(parseUpload(['-h']), 'help')
  })
})
