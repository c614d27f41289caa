/** The node: containerd, kubelet and kube-proxy. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BuildName } from './programs.ts'
import { importProgramImage } from './image-archive.ts'
import type { Kubectl } from './kubectl.ts'
import {
  cgroupName,
  containerdSocket,
  dnsAddress,
  hostAddress,
  kubeletDir,
  nodeAddress,
  nodeName,
  podRange,
  registryName,
  registryPort,
} from './layout.ts'
import { makeCgroup } from './kernel-objects.ts'
import { startProgram } from './processes.ts'
import { waitFor } from './wait-for.ts'

export interface NodeOptions {
  readonly programs: Readonly<Record<BuildName, string>>
  readonly state: string
  readonly pki: string
  readonly logDir: string
}

const pauseImage = 'localhost/pause:1'
export const dnsImage = 'localhost/coredns:1'

/** containerd with the cluster's own images in it. Needs no API server. */
export async function startContainerd({ programs, state, logDir }: NodeOptions): Promise<void> {
  const dir = join(state, 'containerd')
  const cni = join(state, 'cni')
  await mkdir(dir, { recursive: true })
  await mkdir(cni, { recursive: true })
  await writeFile(join(cni, '10-bridge.conflist'), cniConfig(state))
  await writeFile(join(dir, 'config.toml'), containerdConfig({ dir, cni }))
  await startProgram({ name: 'containerd', command: 'containerd', args: ['-c', join(dir, 'config.toml')], logDir })
  await waitFor({ what: 'containerd', timeoutMs: 30_000 }, async () => {
    await execa('ctr', ['--address', containerdSocket, 'version'])
    return true
  })
  await importProgramImage({ name: pauseImage, program: join(programs.pause, 'pause') })
  await importProgramImage({ name: dnsImage, program: join(programs.coredns, 'coredns') })
}

/** kubelet and kube-proxy; the node registers itself. */
export async function startNode({
  programs,
  state,
  pki,
  logDir,
  kubectl,
}: NodeOptions & { readonly kubectl: Kubectl }): Promise<void> {
  await kubectl.apply(await readFile(new URL('manifests/node.yaml', import.meta.url), 'utf8'))
  await makeCgroup()
  const dir = join(state, 'kubelet')
  const volumes = kubeletDir
  await mkdir(dir, { recursive: true })
  await mkdir(volumes, { recursive: true })
  if ((await readdir(volumes)).length === 0) {
    await execa('mount', ['--bind', dir, volumes])
    // One place for each volume: without this, mounts made below would show up under the state directory as well.
    await execa('mount', ['--make-private', volumes])
  }
  const config = join(state, 'kubelet.json')
  await writeFile(config, JSON.stringify(kubeletConfig({ state, pki })))
  await startProgram({
    name: 'kubelet',
    command: join(programs.kubernetes, 'kubelet'),
    args: [
      `--config=${config}`,
      `--kubeconfig=${join(pki, 'kubelet.kubeconfig')}`,
      `--hostname-override=${nodeName}`,
      `--node-ip=${nodeAddress}`,
      `--root-dir=${volumes}`,
      `--cert-dir=${pki}`,
    ],
    logDir,
  })
  await startProgram({
    name: 'kube-proxy',
    command: join(programs.kubernetes, 'kube-proxy'),
    args: [
      `--kubeconfig=${join(pki, 'proxy.kubeconfig')}`,
      `--hostname-override=${nodeName}`,
      '--proxy-mode=nftables',
      // It may not write the sysctl from within the namespace.
      '--conntrack-max-per-core=0',
      `--cluster-cidr=${podRange}`,
    ],
    logDir,
  })
}

export async function nodeIsReady(kubectl: Kubectl): Promise<boolean> {
  const node = await kubectl.get('node', nodeName)
  const conditions = (node?.status?.conditions ?? []) as { type: string; status: string }[]
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
}

function containerdConfig({ dir, cni }: { readonly dir: string; readonly cni: string }): string {
  // A JSON string is a TOML string.
  const quoted = (text: string): string => JSON.stringify(text)
  return `version = 2
root = ${quoted(join(dir, 'root'))}
state = ${quoted(join(dir, 'state'))}
[grpc]
  address = ${quoted(containerdSocket)}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${quoted(pauseImage)}
  # Block volumes belong to the pod's user.
  device_ownership_from_security_context = true
  # Without CAP_SYS_RESOURCE runc dies when it lowers oom_score_adj.
  restrict_oom_score_adj = true
  # So that everything mounted for pods lies below directories of ours.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors.${quoted(registryName)}]
    endpoint = [${quoted(`http://${hostAddress}:${registryPort}`)}]
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = ${quoted(cni)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`
}

function cniConfig(state: string): string {
  const bridge = {
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam: {
      type: 'host-local',
      ranges: [[{ subnet: podRange }]],
      routes: [{ dst: '0.0.0.0/0' }],
      dataDir: join(state, 'cni-ipam'),
    },
  }
  const portmap = { type: 'portmap', capabilities: { portMappings: true } }
  return JSON.stringify({ cniVersion: '1.0.0', name: 'pods', plugins: [bridge, portmap] })
}

function kubeletConfig({ state, pki }: { readonly state: string; readonly pki: string }): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroupName}`,
    failSwapOn: false,
    failCgroupV1: false,
    containerRuntimeEndpoint: `unix://${containerdSocket}`,
    clusterDNS: [dnsAddress],
    clusterDomain: 'cluster.local',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: join(pki, 'ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: join(pki, 'kubelet.crt'),
    tlsPrivateKeyFile: join(pki, 'kubelet.key'),
    // A test machine's disk may be full of other things: only the last percent counts.
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    resolvConf: '',
    // Images come from a registry one hop away: pull them side by side.
    serializeImagePulls: false,
    maxPods: 250,
    syncFrequency: '10s',
    fileCheckFrequency: '5s',
    volumePluginDir: join(state, 'volumeplugins'),
  }
}
