/**
 * How much the proxy forwards per second of CPU, beside nginx doing the same (TLS in, TLS with a client certificate out,
 * no buffering): same upload server, same cipher, same file, one after the other in turn. `node throughput.ts [MIB] [ROUNDS]
 * [NODE FLAGS]` prints a line for each upload and the medians.
 */
import { open, readFile, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { serviceName, uploadPodName } from '../../src/api/names.ts'
import { issueServerCertificate } from '../../src/certs/authority.ts'
import { freePort, startServer, tempDir } from '../fixtures/server-process.ts'
import { curl } from './curl.ts'
import { hourMs, namespace } from './proxy-under-test.ts'
import { RunningProxy } from './running-proxy.ts'

const mebibytes = Number(process.argv[2] ?? 2048)
const rounds = Number(process.argv[3] ?? 3)
const cipher = 'TLS_AES_128_GCM_SHA256'

function countBytes(request: IncomingMessage, response: ServerResponse): void {
  let bytes = 0
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  request.on('end', () => response.end(String(bytes)))
}

/** User and system time of a process so far, in seconds. */
async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

const nodeFlags = process.argv.slice(4)
await using proxy = await RunningProxy.start(countBytes, nodeFlags.length > 0 ? { nodeFlags } : {})
await using dir = await tempDir('throughput')
const file = join(dir.path, 'image')
const image = await open(file, 'w')
await image.truncate(mebibytes * 2 ** 20)
await image.close()

const front = await issueServerCertificate({
  authority: proxy.authorities.proxy,
  hosts: ['localhost'],
  lifetimeMs: hourMs,
  now: Date.now(),
})
const { certPem: clientCert, keyPem: clientKey } = await proxy.rotateClientCertificate()
const files = {
  'front.crt': front.certPem,
  'front.key': front.keyPem,
  'client.crt': clientCert,
  'client.key': clientKey,
  'ca.crt': proxy.authorities.server.certPem,
}
for (const [name, text] of Object.entries(files)) await writeFile(join(dir.path, name), text)
const port = await freePort()
const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
  (kind) => `${kind}_temp_path ${dir.path}/tmp;`,
)
await writeFile(
  join(dir.path, 'nginx.conf'),
  `daemon off; master_process off; pid ${dir.path}/pid; error_log ${dir.path}/error.log;
events { worker_connections 128; }
http { access_log off; ${temporary.join(' ')}
  server { listen 127.0.0.1:${port} ssl; ssl_certificate ${dir.path}/front.crt; ssl_certificate_key ${dir.path}/front.key;
    ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites ${cipher}; client_max_body_size 0;
    location / { proxy_pass https://127.0.0.1:${proxy.serverPort}; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
      proxy_ssl_trusted_certificate ${dir.path}/ca.crt; proxy_ssl_verify on; proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites ${cipher};
      proxy_ssl_name ${serviceName(uploadPodName('disk'))}.${namespace}.svc; proxy_ssl_server_name on;
      proxy_ssl_certificate ${dir.path}/client.crt; proxy_ssl_certificate_key ${dir.path}/client.key; } } }
`,
)
await using nginx = await startServer({
  command: 'nginx',
  args: ['-c', join(dir.path, 'nginx.conf'), '-p', dir.path],
  port,
})

const contenders = [
  { name: 'nginx', pid: nginx.pid, url: `https://localhost:${port}` },
  { name: 'proxy', pid: proxy.child.pid ?? 0, url: proxy.url },
]
const results = new Map<string, number[]>(contenders.map(({ name }) => [name, []]))
const authorization = await proxy.authorization()
for (let round = 0; round < rounds; round++) {
  for (const { name, pid, url } of contenders) {
    const before = await cpuSeconds(pid)
    const started = performance.now()
    const { status, body, stderr } = await curl(
      { url, caFile: proxy.caFile },
      '/v1beta1/upload',
      ['-X', 'POST', '--tls13-ciphers', cipher, '-T', file],
      { authorization },
    )
    const seconds = (performance.now() - started) / 1000
    if (status !== 200 || Number(body) !== mebibytes * 2 ** 20) throw new Error(`${name}: ${status} ${body} ${stderr}`)
    const perCpu = mebibytes / ((await cpuSeconds(pid)) - before)
    results.get(name)?.push(perCpu)
    console.log(`${name}: ${Math.round(perCpu)} MiB per second of CPU, ${Math.round(mebibytes / seconds)} MiB/s`)
  }
}
const [nginxRate = 0, proxyRate = 0] = contenders.map(({ name }) => median(results.get(name) ?? []))
console.log(
  `nginx ${Math.round(nginxRate)}, proxy ${Math.round(proxyRate)} MiB per second of CPU: ${(proxyRate / nginxRate).toFixed(2)}`,
)
