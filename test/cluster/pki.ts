/** The cluster's certificates and kubeconfigs, made by openssl; they live as long as the state directory. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { apiServiceAddress, kubeconfigPath, nodeAddress, nodeName } from './layout.ts'

interface Leaf {
  readonly name: string
  readonly subject: string
  readonly ca?: 'ca' | 'front-proxy-ca'
  readonly altNames?: readonly string[]
}

const leaves: readonly Leaf[] = [
  {
    name: 'apiserver',
    subject: '/CN=kube-apiserver',
    altNames: [
      ...['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local'].map(
        (name) => `DNS:${name}`,
      ),
      'DNS:localhost',
      ...['127.0.0.1', apiServiceAddress, nodeAddress].map((address) => `IP:${address}`),
    ],
  },
  { name: 'apiserver-kubelet', subject: '/O=system:masters/CN=apiserver-kubelet' },
  { name: 'front-proxy-client', subject: '/CN=front-proxy-client', ca: 'front-proxy-ca' },
  { name: 'admin', subject: '/O=system:masters/CN=admin' },
  { name: 'controller-manager', subject: '/CN=system:kube-controller-manager' },
  { name: 'scheduler', subject: '/CN=system:kube-scheduler' },
  { name: 'proxy', subject: '/CN=system:kube-proxy' },
  {
    name: 'kubelet',
    subject: `/O=system:nodes/CN=system:node:${nodeName}`,
    altNames: [`DNS:${nodeName}`, `IP:${nodeAddress}`],
  },
]

/** The names for which {@link makePki} writes a `NAME.kubeconfig` into the PKI directory. */
export type Identity = 'controller-manager' | 'scheduler' | 'proxy' | 'kubelet'
const identities: readonly Identity[] = ['controller-manager', 'scheduler', 'proxy', 'kubelet']

const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

export async function makePki({ dir, state }: { readonly dir: string; readonly state: string }): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const openssl = async (...args: string[]): Promise<void> => {
    await execa('openssl', args, { cwd: dir })
  }
  const authority = (name: string): Promise<void> =>
    openssl(
      'req',
      '-x509',
      ...ec,
      '-days',
      '3650',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
      '-subj',
      `/CN=${name}`,
    )
  const leaf = async ({ name, subject, ca = 'ca', altNames = [] }: Leaf): Promise<void> => {
    const extensions = ['keyUsage=digitalSignature', 'extendedKeyUsage=serverAuth,clientAuth']
    if (altNames.length > 0) extensions.push(`subjectAltName=${altNames.join(',')}`)
    await writeFile(join(dir, `${name}.ext`), `${extensions.join('\n')}\n`)
    await openssl('req', ...ec, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject)
    const signer = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-days', '3650', '-extfile', `${name}.ext`]
    await openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...signer)
  }
  await Promise.all([authority('ca'), authority('front-proxy-ca'), openssl('genrsa', '-out', 'sa.key', '2048')])
  await Promise.all([...leaves.map(leaf), openssl('rsa', '-in', 'sa.key', '-pubout', '-out', 'sa.pub')])
  for (const name of identities) await writeFile(join(dir, `${name}.kubeconfig`), kubeconfig(dir, name))
  await writeFile(kubeconfigPath(state), kubeconfig(dir, 'admin'), { mode: 0o600 })
}

function kubeconfig(dir: string, name: string): string {
  // YAML is a superset of JSON.
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'cdi-test',
        cluster: { server: `https://${nodeAddress}:6443`, 'certificate-authority': join(dir, 'ca.crt') },
      },
    ],
    users: [{ name, user: { 'client-certificate': join(dir, `${name}.crt`), 'client-key': join(dir, `${name}.key`) } }],
    contexts: [{ name: 'cdi-test', context: { cluster: 'cdi-test', user: name } }],
    'current-context': 'cdi-test',
  })
  return `${text}\n`
}
