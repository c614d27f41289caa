/** etcd, API server, controller-manager and scheduler, as processes in the cluster's namespace. */
import { join } from 'node:path'
import type { Kubectl } from './kubectl.ts'
import { nodeAddress, serviceRange } from './layout.ts'
import { startProgram } from './processes.ts'
import { waitFor } from './wait-for.ts'

export interface ControlPlaneOptions {
  readonly binDir: string
  readonly state: string
  readonly pki: string
  readonly logDir: string
  readonly kubectl: Kubectl
}

const etcd = 'http://127.0.0.1:2379'

export async function startControlPlane({ binDir, state, pki, logDir, kubectl }: ControlPlaneOptions): Promise<void> {
  const start = (name: string, args: readonly string[]): Promise<void> =>
    startProgram({ name, command: join(binDir, name), args, logDir })
  const file = (name: string): string => join(pki, name)
  await start('etcd', [
    `--data-dir=${join(state, 'etcd')}`,
    `--listen-client-urls=${etcd}`,
    `--advertise-client-urls=${etcd}`,
    '--listen-peer-urls=http://127.0.0.1:2380',
    // The cluster is made anew after a crash, so nothing needs to survive one.
    '--unsafe-no-fsync',
    '--log-level=warn',
  ])
  await start('kube-apiserver', [
    `--etcd-servers=${etcd}`,
    `--service-cluster-ip-range=${serviceRange}`,
    '--secure-port=6443',
    `--advertise-address=${nodeAddress}`,
    `--tls-cert-file=${file('apiserver.crt')}`,
    `--tls-private-key-file=${file('apiserver.key')}`,
    `--client-ca-file=${file('ca.crt')}`,
    `--service-account-key-file=${file('sa.pub')}`,
    `--service-account-signing-key-file=${file('sa.key')}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--kubelet-client-certificate=${file('apiserver-kubelet.crt')}`,
    `--kubelet-client-key=${file('apiserver-kubelet.key')}`,
    `--proxy-client-cert-file=${file('front-proxy-client.crt')}`,
    `--proxy-client-key-file=${file('front-proxy-client.key')}`,
    `--requestheader-client-ca-file=${file('front-proxy-ca.crt')}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-username-headers=X-Remote-User',
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--kubelet-preferred-address-types=InternalIP',
    '--allow-privileged=true',
    '--enable-aggregator-routing=true',
  ])
  await waitFor(
    { what: `the API server (log: ${join(logDir, 'kube-apiserver.log')})`, timeoutMs: 120_000 },
    async () => {
      await kubectl.run(['get', '--raw', '/readyz'])
      return true
    },
  )
  const identity = (name: string): string[] =>
    ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map(
      (flag) => `--${flag}=${file(`${name}.kubeconfig`)}`,
    )
  await start('kube-controller-manager', [
    ...identity('controller-manager'),
    `--service-account-private-key-file=${file('sa.key')}`,
    `--root-ca-file=${file('ca.crt')}`,
    `--cluster-signing-cert-file=${file('ca.crt')}`,
    `--cluster-signing-key-file=${file('ca.key')}`,
    '--use-service-account-credentials=true',
    '--leader-elect=false',
  ])
  await start('kube-scheduler', [...identity('scheduler'), '--leader-elect=false'])
}
