/**
 * Memory that direct I/O takes. The kernel wants buffers to begin at multiples of the storage's block size, and Node's
 * buffers begin anywhere; memory of WebAssembly begins at a page.
 */

/** Offsets, lengths and addresses of direct writes are multiples of this: the largest logical block that devices have. */
export const directBlockBytes = 4096

const wasmPageBytes = 64 * 1024

/** As much as is used here: TypeScript describes it only together with all of a browser. */
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
}

/** Marks memory that begins at a page; filled only by {@link allocAligned}. */
const aligned = new WeakSet<ArrayBufferLike>()

/** A buffer of `bytes` bytes (a multiple of 64 KiB); aligned unless the address space is too small for that. */
export function allocAligned(bytes: number): Buffer {
  const pages = bytes / wasmPageBytes
  try {
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
    aligned.add(buffer)
    return Buffer.from(buffer)
  } catch (error) {
    // Reserves gigabytes of addresses, which a limit on them (ulimit -v) may forbid.
    if (error instanceof RangeError) return Buffer.allocUnsafeSlow(bytes)
    throw error
  }
}

/** True if the buffer's address is known to be a multiple of {@link directBlockBytes}. */
export function isAligned(bytes: Buffer): boolean {
  return bytes.byteOffset % directBlockBytes === 0 && aligned.has(bytes.buffer)
}
