import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { parseCli } from '../../../importer/cli/options.ts'
import type { CliInput } from '../../../importer/cli/options.ts'
import type { HttpRequest } from '../../../importer/request.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'

const url = 'https://server/disk.qcow2'
const hex = (digits: number): string => 'a'.repeat(digits)

let dir: TempDir
const path = (name: string): string => join(dir.path, name)

before(async () => {
  dir = await tempDir('options')
  await writeFile(path('secret'), 'alice\r\nopen sesame\r\n')
  await writeFile(path('headers'), 'X-One: 1\n\nX-Two: 2\n')
  await writeFile(path('ca'), 'PEM')
  await writeFile(path('incomplete'), 'alice\n')
})
after(() => dir[Symbol.asyncDispose]())

async function parsed(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<CliInput> {
  const input = await parseCli(args, 'import', environment)
  assert.notEqual(input, 'help')
  return input as CliInput
}

async function httpOf(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<HttpRequest> {
  const { source } = (await parsed([url, 'disk.raw', ...args], environment)).request
  assert.equal(source.type, 'http')
  return source
}

describe('the command line', () => {
  it('needs no option: a disk that is as large as it is, staged beside the target if need be', async () => {
    const { request, json, verbose } = await parsed([url, 'out/disk.raw'])
    assert.deepEqual([json, verbose], [false, false])
    assert.deepEqual(
      { ...request, source: undefined },
      {
        source: undefined,
        contentType: 'kubevirt',
        targetPath: resolve('out/disk.raw'),
        requireEmptyDirectory: true,
        resize: false,
        preallocate: false,
        directIo: false,
        scratchDirectory: resolve('out'),
      },
    )
    assert.deepEqual(request.source, {
      type: 'http',
      url,
      headers: [],
      secretHeaders: [],
      ca: [],
      insecureSkipVerify: false,
      proxy: { httpProxy: '', httpsProxy: '', noProxy: '' },
    })
  })

  it('tells URLs, files and standard input apart', async () => {
    const typeOf = async (source: string): Promise<unknown> => (await parsed([source, 't'])).request.source
    assert.deepEqual(await typeOf('-'), { type: 'stdin' })
    assert.deepEqual(await typeOf('a/disk.raw'), { type: 'file', path: resolve('a/disk.raw') })
    assert.deepEqual(await typeOf('/dev/sda'), { type: 'file', path: '/dev/sda' })
    // A colon alone makes no URL.
    assert.deepEqual(await typeOf('C:disk'), { type: 'file', path: resolve('C:disk') })
    assert.equal(((await typeOf('HTTP://server/x')) as HttpRequest).type, 'http')
  })

  it('reads sizes as bytes or quantities and grows the disk only then', async () => {
    for (const [size, bytes] of [
      ['1048576', 1_048_576],
      ['10Gi', 10 * 2 ** 30],
      ['500M', 500_000_000],
      ['1.5Gi', 1.5 * 2 ** 30],
    ] as const) {
      const { request } = await parsed([url, 't', '--size', size])
      assert.equal(request.requestedBytes, bytes)
      assert.equal(request.resize, true)
    }
  })

  it('takes options before, between and behind the names, also with an equals sign', async () => {
    const { request, json } = await parsed(['--json', url, '--size=1Gi', 't', '--format=qcow2', '--preallocate'])
    assert.equal(json, true)
    assert.equal(request.requestedBytes, 2 ** 30)
    assert.equal(request.format, 'qcow2')
    assert.equal(request.preallocate, true)
  })

  it('parses every kind of checksum', async () => {
    for (const [algorithm, digits] of [
      ['md5', 32],
      ['sha1', 40],
      ['sha256', 64],
      ['sha512', 128],
    ] as const) {
      const { request } = await parsed([url, 't', '--checksum', `${algorithm}:${hex(digits)}`])
      assert.equal(request.checksum?.algorithm, algorithm)
    }
  })

  it('reads the files that options name, lines ended by CR and LF too', async () => {
    const http = await httpOf(
      `--secret-file ${path('secret')} --header-file ${path('headers')} --ca-file ${path('ca')} --ca-file ${path('ca')}`.split(
        ' ',
      ),
    )
    assert.deepEqual(http.credentials, { user: 'alice', password: 'open sesame' })
    assert.deepEqual(http.secretHeaders, ['X-One: 1', 'X-Two: 2'])
    assert.deepEqual(http.headers, [])
    assert.deepEqual(http.ca, ['PEM', 'PEM'])
  })

  it('takes the proxy from the environment, small letters before large ones', async () => {
    const { proxy } = await httpOf([], {
      http_proxy: 'http://small',
      HTTP_PROXY: 'http://large',
      HTTPS_PROXY: 'http://secure',
      NO_PROXY: '10.0.0.0/8',
    })
    assert.deepEqual(proxy, { httpProxy: 'http://small', httpsProxy: 'http://secure', noProxy: '10.0.0.0/8' })
  })

  it('tells registries, archives of images and object stores by their scheme', async () => {
    const typeOf = async (source: string): Promise<string> => (await parsed([source, 't'])).request.source.type
    assert.equal(await typeOf('docker://quay.io/org/disk:1'), 'registry')
    assert.equal(await typeOf('oci-archive:disk.tar:latest'), 'registry')
    assert.equal(await typeOf('s3://bucket/disk.qcow2'), 's3')
    assert.equal(await typeOf('gs://bucket/disk.qcow2'), 'gcs')
  })

  it('does not verify the registries that it was told not to, and no others', async () => {
    const insecure = async (source: string): Promise<boolean> => {
      const { source: request } = (await parsed([source, 't', '--insecure-registry', 'lab:5000'])).request
      assert.equal(request.type, 'registry')
      return request.type === 'registry' && request.insecureSkipVerify
    }
    assert.equal(await insecure('docker://lab:5000/disk'), true)
    assert.equal(await insecure('docker://lab/disk'), false)
    assert.equal(await insecure('docker://lab:5001/disk'), false)
  })

  it('takes logins of registries from where podman and docker keep them, the named file first', async () => {
    await mkdir(path('home/.docker'), { recursive: true })
    await writeFile(path('home/.docker/config.json'), 'docker')
    await writeFile(path('auth.json'), 'podman')
    await writeFile(path('named.json'), 'named')
    const configOf = async (
      options: readonly string[],
      environment: Readonly<Record<string, string>>,
    ): Promise<string | undefined> => {
      const { source } = (await parsed(['docker://r/disk', 't', ...options], environment)).request
      return source.type === 'registry' ? source.dockerConfig : 'not a registry'
    }
    const home = { HOME: path('home') }
    assert.equal(await configOf([], {}), undefined)
    assert.equal(await configOf([], home), 'docker')
    assert.equal(await configOf([], { ...home, REGISTRY_AUTH_FILE: path('auth.json') }), 'podman')
    assert.equal(await configOf([], { ...home, REGISTRY_AUTH_FILE: path('nowhere') }), 'docker')
    assert.equal(await configOf(['--docker-config', path('named.json')], home), 'named')
    await assert.rejects(configOf(['--docker-config', path('nowhere')], home), { code: 'CDI_USAGE' })
  })

  it('takes keys of object stores from files that are named, and Google its own default', async () => {
    await writeFile(path('google.json'), 'key')
    const s3 = (await parsed(['s3://b/k', 't', '--s3-endpoint', 'http://store', '--secret-file', path('secret')]))
      .request.source
    assert.ok(s3.type === 's3')
    assert.equal(s3.endpoint, 'http://store')
    assert.deepEqual(s3.credentials, { accessKeyId: 'alice', secretAccessKey: 'open sesame' })
    const gcs = async (environment: Readonly<Record<string, string>>): Promise<string | undefined> => {
      const { source } = (await parsed(['gs://b/o', 't'], environment)).request
      return source.type === 'gcs' ? source.serviceAccount : 'not gcs'
    }
    assert.equal(await gcs({}), undefined)
    assert.equal(await gcs({ GOOGLE_APPLICATION_CREDENTIALS: path('google.json') }), 'key')
    // A file that is asked for and missing is not the same as none.
    await assert.rejects(gcs({ GOOGLE_APPLICATION_CREDENTIALS: path('nowhere') }), { code: 'CDI_USAGE' })
  })

  it('asks for help wherever that stands', async () => {
    assert.equal(await parseCli(['--help'], 'import', {}), 'help')
    assert.equal(await parseCli([url, '--help'], 'inspect', {}), 'help')
  })

  it('wants a source and a target to import, a source to inspect', async () => {
    await assert.rejects(parseCli([url], 'import', {}), { code: 'CDI_USAGE', message: /SOURCE and TARGET, got 1/ })
    await assert.rejects(parseCli([], 'inspect', {}), { code: 'CDI_USAGE', message: /SOURCE, got 0/ })
    await assert.rejects(parseCli([url, 't'], 'inspect', {}), { code: 'CDI_USAGE' })
    assert.notEqual(await parseCli([url], 'inspect', {}), 'help')
  })

  for (const [what, options, code, message] of [
    ['an unknown option', ['--speed', '9'], 'CDI_USAGE', /--speed/],
    ['an option without its value', ['--size'], 'CDI_USAGE', /size/],
    ['a size that is none', ['--size', '10 potatoes'], 'CDI_USAGE', /--size 10 potatoes is no size/],
    ['a size of nothing', ['--size', '0'], 'CDI_USAGE', /--size 0/],
    ['a negative size', ['--size=-1'], 'CDI_USAGE', /--size -1/],
    ['a format that nobody knows', ['--format', 'zip'], 'CDI_USAGE', /use one of raw, qcow2, vmdk, vdi, vhd, vhdx/],
    ['a content type that nobody knows', ['--content-type', 'iso'], 'CDI_USAGE', /kubevirt, archive/],
    ['a checksum without an algorithm', ['--checksum', hex(64)], 'CDI_CHECKSUM_INVALID', /./],
    ['a file that cannot be read', ['--ca-file', '/nowhere/ca.pem'], 'CDI_USAGE', /--ca-file \/nowhere\/ca\.pem/],
  ] as const) {
    it(`refuses ${what}`, async () => {
      await assert.rejects(parsed([url, 't', ...options]), { code, message })
    })
  }

  it('refuses a secret file with a user name alone, without showing it', async () => {
    await assert.rejects(httpOf(['--secret-file', path('incomplete')]), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CDI_USAGE')
      assert.ok(!error.message.includes('alice'))
      return true
    })
  })
})
