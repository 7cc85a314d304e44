import Foundation
import XCTest

@testable import MNV2Core

/// Results of mnv2-export's own Python code, in the folder that MNV2_FIXTURES names.
///
/// They are made in mnv2-export's repository; without them the tests that need them are skipped.
struct Fixtures {
    let folder: URL

    static func open(_ path: String = "") throws -> Fixtures {
        guard let folder = ProcessInfo.processInfo.environment["MNV2_FIXTURES"] else {
            throw XCTSkip("MNV2_FIXTURES is not set")
        }
        return Fixtures(folder: URL(fileURLWithPath: folder).appendingPathComponent(path))
    }

    func url(_ name: String) -> URL { folder.appendingPathComponent(name) }

    func json<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value {
        try JSONDecoder().decode(type, from: Data(contentsOf: url("\(name).json")))
    }

    func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: url(name))) }

    func floats(_ name: String) throws -> [Float] {
        let bytes = try bytes(name)
        return stride(from: 0, to: bytes.count, by: 4).map { start in
            Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[start + $1]) << (8 * $1) })
        }
    }

    func picture(_ name: String) throws -> PixelImage { try PixelImage(ppm: bytes(name)) }
}

extension PixelImage {
    /// A binary PPM (P6) of 8 bits.
    init(ppm: [UInt8]) throws {
        var place = 0
        func word() throws -> String {
            while place < ppm.count, ppm[place] <= 32 { place += 1 }
            let start = place
            while place < ppm.count, ppm[place] > 32 { place += 1 }
            guard start < place else { throw Problem.notAnImage }
            return String(decoding: ppm[start..<place], as: UTF8.self)
        }
        let kind = try word()
        guard kind == "P6", let width = Int(try word()), let height = Int(try word()),
            try word() == "255", ppm.count == place + 1 + width * height * PixelImage.channels
        else { throw Problem.notAnImage }
        self.init(width: width, height: height, bytes: Array(ppm[(place + 1)...]))
    }
}

func assertEqual(
    _ found: [Double], _ expected: [Double], accuracy: Double = 1e-9, _ message: String = "",
    file: StaticString = #filePath, line: UInt = #line
) {
    XCTAssertEqual(found.count, expected.count, message, file: file, line: line)
    for (a, b) in zip(found, expected) {
        XCTAssertEqual(a, b, accuracy: accuracy, message, file: file, line: line)
    }
}
