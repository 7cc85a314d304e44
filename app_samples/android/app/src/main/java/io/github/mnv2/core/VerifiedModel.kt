package io.github.mnv2.core

import java.io.File
import java.io.IOException

/** A model whose every byte is the one that was proved: code pins manifest, manifest pins artifact. */
class VerifiedModel private constructor(
    val manifest: Manifest,
    val files: ModelFiles,
    val artifact: File,
) {
    companion object {
        /**
         * Checks the chain and puts the artifact where the runtime can map it: ExecuTorch reads
         * files, not assets.
         */
        fun open(files: ModelFiles, manifestSha256: String, folder: File): VerifiedModel {
            val bytes = files.read("manifest.json")
            if (sha256(bytes) != manifestSha256) throw ModelException.changed("manifest.json")
            val manifest = Manifest.parse(String(bytes, Charsets.UTF_8))
            return VerifiedModel(manifest, files, unpack(files, manifest.artifact, folder))
        }

        private fun unpack(files: ModelFiles, artifact: Artifact, folder: File): File {
            val target = File(folder, "${artifact.sha256}.pte")
            try {
                if (target.isFile && target.inputStream().use { sha256(it) } == artifact.sha256) {
                    return target
                }
                folder.mkdirs()
                folder.listFiles().orEmpty().forEach { it.delete() } // of earlier models
                copy(files, artifact, target)
            } catch (error: IOException) {
                throw ModelException("The model cannot be unpacked (${error.message})", error)
            }
            return target
        }

        private fun copy(files: ModelFiles, artifact: Artifact, target: File) {
            val partial = File(target.path + ".part")
            val digest = files.open(artifact.path).use { from ->
                partial.outputStream().use { to -> sha256(from, to) }
            }
            if (digest != artifact.sha256) {
                partial.delete()
                throw ModelException.changed(artifact.path)
            }
            if (!partial.renameTo(target)) throw IOException("no room for $target")
        }
    }
}
