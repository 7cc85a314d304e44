import CoreML
import Foundation
import MNV2Core

/// The package, compiled once per model and system.
///
/// Xcode could compile it while building. Then the app would hold a `.mlmodelc` whose bytes depend
/// on Xcode's version, and no digest in the manifest could tell that it is the model that was
/// proved. So the package travels as it is and is compiled at the first launch, once.
enum CompiledModel {
    static func url(of folder: ModelFolder) async throws -> URL {
        let system = ProcessInfo.processInfo.operatingSystemVersionString
        let key = SHA256.hex("\(folder.manifest.artifact.sha256) \(system)".utf8)
        let cached = try cacheFolder().appendingPathComponent("\(key).mlmodelc")
        if FileManager.default.fileExists(atPath: cached.path) { return cached }
        let fresh: URL
        do {
            fresh = try await MLModel.compileModel(at: folder.package)
        } catch {
            throw Problem.runtimeRefused(error.localizedDescription)
        }
        try replaceCache(by: fresh, as: cached)
        return cached
    }

    /// Below Caches: what the system removes there is compiled again.
    private static func cacheFolder() throws -> URL {
        try FileManager.default
            .url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            .appendingPathComponent("CompiledModels", isDirectory: true)
    }

    /// Models of earlier versions of the app or the system go.
    private static func replaceCache(by fresh: URL, as cached: URL) throws {
        let folder = cached.deletingLastPathComponent()
        if FileManager.default.fileExists(atPath: folder.path) {
            try FileManager.default.removeItem(at: folder)
        }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try FileManager.default.moveItem(at: fresh, to: cached)
    }
}
