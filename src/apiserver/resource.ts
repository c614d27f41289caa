/** The one resource that is served: `uploadtokenrequests.upload.cdi.kubevirt.io` (contract/upload.md §2). */

export const uploadGroup = 'upload.cdi.kubevirt.io'
export const uploadVersion = 'v1beta1'
export const uploadGroupVersion = `${uploadGroup}/${uploadVersion}`
export const uploadTokenRequest = { plural: 'uploadtokenrequests', kind: 'UploadTokenRequest' } as const

/** Where the group and its version are served. */
export const groupPath = `/apis/${uploadGroup}`
export const versionPath = `${groupPath}/${uploadVersion}`
