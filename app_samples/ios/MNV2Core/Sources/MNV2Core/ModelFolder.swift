import Foundation

/// What was compiled into the app by `mnv2-export sample`.
public struct Pins: Sendable {
    public let manifestSHA256: String
    public let artifact: String
    public let artifactSHA256: String

    public init(manifestSHA256: String, artifact: String, artifactSHA256: String) {
        self.manifestSHA256 = manifestSHA256
        self.artifact = artifact
        self.artifactSHA256 = artifactSHA256
    }
}

/// `model/` after every link of the chain was checked: code, manifest, artifact, golden vectors.
public struct ModelFolder: Sendable {
    public let url: URL
    public let manifest: Manifest

    public var package: URL { url.appendingPathComponent(manifest.artifact.path) }
    public var goldenFolder: URL { url.appendingPathComponent("golden") }

    /// Reads the whole model once, so not for the main thread.
    public static func open(_ url: URL, pins: Pins) throws -> ModelFolder {
        let data = try read(url, "manifest.json")
        guard SHA256.hex(data) == pins.manifestSHA256 else {
            throw Problem.modelChanged(file: "manifest.json")
        }
        let manifest = try decode(Manifest.self, data, "manifest.json")
        try manifest.check()
        let artifact = manifest.artifact
        guard artifact.path == pins.artifact, artifact.sha256 == pins.artifactSHA256 else {
            throw Problem.modelChanged(file: "manifest.json")
        }
        try check(url, artifact.path, artifact.sha256)
        try check(url, "golden", manifest.goldenSHA256)
        return ModelFolder(url: url, manifest: manifest)
    }

    /// The golden vectors' expected results.
    public func golden() throws -> Golden {
        let name = "golden/expected.json"
        return try Self.decode(Golden.self, Self.read(url, name), name)
    }

    private static func read(_ url: URL, _ name: String) throws -> Data {
        let file = url.appendingPathComponent(name)
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw Problem.modelMissing(file: name)
        }
        do {
            return try Data(contentsOf: file)
        } catch {
            throw Problem.unreadable(file: name, reason: error.localizedDescription)
        }
    }

    private static func decode<Value: Decodable>(
        _ type: Value.Type, _ data: Data, _ name: String
    ) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch {
            throw Problem.unreadable(file: name, reason: String(describing: error))
        }
    }

    private static func check(_ url: URL, _ name: String, _ expected: String) throws {
        let path = url.appendingPathComponent(name)
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path.path, isDirectory: &isFolder) else {
            throw Problem.modelMissing(file: name)
        }
        do {
            let digest =
                try isFolder.boolValue ? FolderDigest.directory(path) : FolderDigest.file(path)
            guard digest == expected else { throw Problem.modelChanged(file: name) }
        } catch let problem as Problem {
            throw problem
        } catch {
            throw Problem.unreadable(file: name, reason: error.localizedDescription)
        }
    }
}
