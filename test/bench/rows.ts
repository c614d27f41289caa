/** The table of shared measures: what is imported, the pipe that people would use otherwise, and the ratio to reach. */
import type { ServerName } from './servers.ts'

export interface Row {
  readonly name: string
  /** Where it is imported from: the web server unless told. */
  readonly server?: ServerName
  /** The file, the disk of the container image, or the object. */
  readonly file: string
  /** Shell command line of the other side; `$URL`, `$OUT`, `$TMP` and what the server says are set. */
  readonly pipe: string
  /** Wall time of ours over wall time of the pipe, at most. */
  readonly target: number
}

const nbdkit = (format: string): string =>
  `nbdkit -U - curl "$URL" --run 'qemu-img convert -f ${format} -O raw -m 16 -W "$uri" '"$OUT"`

const unpackThenConvert = (unpack: string): string =>
  `curl -s "$URL" | ${unpack} > "$TMP" && qemu-img convert -f qcow2 -O raw "$TMP" "$OUT" && rm "$TMP"`

/** The layer is the largest file that skopeo writes. */
const skopeo = (take: string): string =>
  `skopeo --insecure-policy copy -q --src-tls-verify=false "$URL" "dir:$TMP" && layer=$TMP/$(ls -S "$TMP" | head -n 1) && ${take} && rm -r "$TMP"`

const getObject =
  'curl -sf --aws-sigv4 "aws:amz:$AWS_REGION:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" "$URL"'

export const rows: readonly Row[] = [
  { name: 'raw', file: 'disk.raw', pipe: 'curl -s "$URL" | dd of="$OUT" bs=1M conv=sparse', target: 0.45 },
  {
    name: 'raw.gz',
    file: 'disk.raw.gz',
    pipe: 'curl -s "$URL" | gunzip | dd of="$OUT" bs=1M conv=sparse',
    target: 0.15,
  },
  {
    name: 'raw.xz, blocks',
    file: 'disk.raw.xz',
    pipe: 'curl -s "$URL" | xz -dc -T2 | dd of="$OUT" bs=1M conv=sparse',
    target: 0.9,
  },
  {
    name: 'raw.zst',
    file: 'disk.raw.zst',
    pipe: 'curl -s "$URL" | zstd -dc | dd of="$OUT" bs=1M conv=sparse',
    target: 0.8,
  },
  { name: 'qcow2, zlib', file: 'zlib.qcow2', pipe: nbdkit('qcow2'), target: 1 },
  { name: 'qcow2, plain', file: 'plain.qcow2', pipe: nbdkit('qcow2'), target: 1 },
  { name: 'vmdk, stream', file: 'stream.vmdk', pipe: nbdkit('vmdk'), target: 0.6 },
  { name: 'vhdx', file: 'disk.vhdx', pipe: nbdkit('vhdx'), target: 1.2 },
  {
    name: 'qcow2.gz',
    file: 'plain.qcow2.gz',
    pipe: unpackThenConvert('gunzip'),
    target: 0.7,
  },
  {
    name: 'qcow2.xz, blocks',
    file: 'plain.qcow2.xz',
    pipe: unpackThenConvert('xz -dc -T2'),
    target: 0.9,
  },
  {
    name: 'registry, raw',
    server: 'registry',
    file: 'disk.raw',
    pipe: skopeo('tar -xzOf "$layer" disk/disk.raw | dd of="$OUT" bs=1M conv=sparse'),
    target: 0.25,
  },
  {
    name: 'registry, qcow2',
    server: 'registry',
    file: 'plain.qcow2',
    pipe: skopeo(
      'tar -xzOf "$layer" disk/plain.qcow2 > "$TMP/disk" && qemu-img convert -f qcow2 -O raw "$TMP/disk" "$OUT"',
    ),
    target: 0.7,
  },
  {
    name: 'S3, raw',
    server: 's3',
    file: 'disk.raw',
    pipe: `${getObject} | dd of="$OUT" bs=1M conv=sparse`,
    target: 0.6,
  },
  {
    name: 'S3, raw, s5cmd',
    server: 's3',
    file: 'disk.raw',
    pipe: '"$S5CMD" cp "s3://bench/disk.raw" "$OUT"',
    target: 0.8,
  },
  {
    name: 'S3, qcow2',
    server: 's3',
    file: 'plain.qcow2',
    pipe: `${getObject} > "$TMP" && qemu-img convert -f qcow2 -O raw "$TMP" "$OUT" && rm "$TMP"`,
    target: 0.7,
  },
  {
    name: 'S3, qcow2, s5cmd',
    server: 's3',
    file: 'plain.qcow2',
    pipe: '"$S5CMD" cp "s3://bench/plain.qcow2" "$TMP" && qemu-img convert -f qcow2 -O raw "$TMP" "$OUT" && rm "$TMP"',
    target: 1,
  },
]

/** What every row keeps to: all processes of an import together, in bytes. */
export const memoryLimitBytes = 256 * 1024 ** 2

/** Rows over a slow link: 20 ms of latency, 25 MB/s a connection; the bar is what four connections can carry. */
export const slowRows = [
  { name: 'raw', file: 'disk.raw' },
  { name: 'qcow2, zlib', file: 'zlib.qcow2' },
  { name: 'qcow2, plain', file: 'plain.qcow2' },
] as const
export const slowLink = { latencyMs: 20, connectionBytesPerSecond: 25e6, connections: 4, tolerance: 1.1 } as const

export interface UploadRow {
  readonly name: string
  readonly file: string
  /** Through our proxy, or to our upload server alone, with the proxy's certificate. */
  readonly through: 'proxy' | 'server'
}

/** Ours beside curl to a server that stores the file as it is, which is less work: nothing is expected of the ratio. */
export const uploadRows: readonly UploadRow[] = [
  { name: 'upload, qcow2, zlib', file: 'zlib.qcow2', through: 'proxy' },
  { name: 'upload, qcow2, zlib, server alone', file: 'zlib.qcow2', through: 'server' },
  { name: 'upload, raw.zst', file: 'disk.raw.zst', through: 'proxy' },
  { name: 'upload, raw.zst, server alone', file: 'disk.raw.zst', through: 'server' },
]

/** Bytes for a second of processor time, ours over nginx's, at least. */
export const passingTarget = 0.7
