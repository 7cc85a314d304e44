import XCTest

@testable import MNV2Core

final class DigestTests: XCTestCase {
    /// FIPS 180-4's examples, and lengths around a block's end.
    func testVectors() {
        XCTAssertEqual(
            SHA256.hex([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        XCTAssertEqual(
            SHA256.hex("abc".utf8),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        XCTAssertEqual(
            SHA256.hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        XCTAssertEqual(
            SHA256.hex(repeatElement(UInt8(ascii: "a"), count: 1_000_000)),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    func testPiecesOfAnyLengthAreOneMessage() {
        for length in [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000] {
            let message = (0..<length).map { UInt8(truncatingIfNeeded: $0 * 7) }
            var pieces = SHA256()
            for start in stride(from: 0, to: length, by: 13) {
                pieces.update(message[start..<min(start + 13, length)])
            }
            XCTAssertEqual(pieces.finalHex(), SHA256.hex(message), "\(length) bytes")
        }
    }

    func testDirectoriesAreSortedAsTheExporterSortsThem() throws {
        let fixtures = try Fixtures.open()
        for (name, digest) in try fixtures.json("digests", as: [String: String].self) {
            XCTAssertEqual(try FolderDigest.directory(fixtures.url(name)), digest, name)
        }
    }
}
