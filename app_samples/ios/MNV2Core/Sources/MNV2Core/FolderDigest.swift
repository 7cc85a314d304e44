import Foundation

/// SHA-256 of a file or of a directory, as mnv2-export states it in manifests.
public enum FolderDigest {
    private static let chunk = 1 << 20

    public static func file(_ url: URL) throws -> String {
        var digest = SHA256()
        try feed(url, to: &digest)
        return digest.finalHex()
    }

    /// Of every file's relative name, a zero, its size as 8 bytes from the lowest, its content.
    public static func directory(_ url: URL) throws -> String {
        var digest = SHA256()
        for file in try files(in: url) {
            let path = file.reduce(url) { $0.appendingPathComponent($1) }
            digest.update(file.joined(separator: "/").utf8)
            digest.update([0])
            let size = try sizeOf(path)
            digest.update((0..<8).map { UInt8(truncatingIfNeeded: size >> UInt64(8 * $0)) })
            try feed(path, to: &digest)
        }
        return digest.finalHex()
    }

    /// Relative names in parts, sorted part by part by their bytes, whatever the locale is.
    private static func files(in url: URL) throws -> [[String]] {
        var found: [[String]] = []
        for name in try FileManager.default.contentsOfDirectory(atPath: url.path) {
            let child = url.appendingPathComponent(name)
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: child.path, isDirectory: &isFolder) else {
                continue
            }
            found += isFolder.boolValue ? try files(in: child).map { [name] + $0 } : [[name]]
        }
        return found.sorted { a, b in
            a.lexicographicallyPrecedes(b) { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
    }

    private static func sizeOf(_ url: URL) throws -> UInt64 {
        let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
        return (attributes[.size] as? NSNumber)?.uint64Value ?? 0
    }

    private static func feed(_ url: URL, to digest: inout SHA256) throws {
        let handle = try FileHandle(forReadingFrom: url)
        defer { try? handle.close() }
        while let data = try handle.read(upToCount: chunk), !data.isEmpty {
            digest.update(data)
        }
    }
}
