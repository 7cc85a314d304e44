import XCTest

@testable import MNV2Core

final class PixelTests: XCTestCase {
    private struct Resize: Decodable {
        let photo: String
        let preprocess: Preprocess
        let seen: String
    }

    private struct Turned: Decodable {
        let orientation: Int
        let upright: String
    }

    private struct Normalized: Decodable {
        let order: ChannelOrder
        let affine: Affine
        let tensor: String
    }

    func testEveryByteOfAResizeIsPillows() throws {
        let fixtures = try Fixtures.open()
        for (index, resize) in try fixtures.json("resizes", as: [Resize].self).enumerated() {
            let photo = try fixtures.picture(resize.photo)
            let seen = try Preprocessor(contract: resize.preprocess).pixels(of: photo)
            XCTAssertEqual(seen.bytes, try fixtures.bytes(resize.seen), "case \(index)")
        }
    }

    func testOrientationsAreExifs() throws {
        let fixtures = try Fixtures.open()
        let stored = try fixtures.picture("stored.ppm")
        let cases = try fixtures.json("orientations", as: [Turned].self)
        XCTAssertEqual(cases.count, Orientation.allCases.count)
        for turned in cases {
            let orientation = try XCTUnwrap(Orientation(rawValue: turned.orientation))
            let upright = try fixtures.picture(turned.upright)
            XCTAssertEqual(stored.upright(from: orientation), upright, "\(orientation)")
        }
    }

    func testEveryBitOfANormalizedPixelIsTheContracts() throws {
        let fixtures = try Fixtures.open()
        let pixels = try fixtures.picture("values.ppm")
        for normalized in try fixtures.json("normalizations", as: [Normalized].self) {
            let found = Normalization(normalized.affine, order: normalized.order).tensor(pixels)
            let expected = try fixtures.floats(normalized.tensor)
            XCTAssertEqual(found.map(\.bitPattern), expected.map(\.bitPattern))
        }
    }

    func testAPhotoThatWouldTakeGigabytesIsRefused() throws {
        let contract = Preprocess(
            resizeRule: .shortest, resizeSize: 256, resizeFilter: .bilinear, cropSize: 224,
            channelOrder: .rgb)
        let line = PixelImage(
            width: 5000, height: 1, bytes: [UInt8](repeating: 0, count: 5000 * 3))
        XCTAssertThrowsError(try Preprocessor(contract: contract).pixels(of: line)) { error in
            XCTAssertEqual(
                error as? Problem,
                .cannotBeResized(from: "5000 × 1", to: "1280000 × 256"))
        }
    }

    func testPixelsForCoreMLKeepTheirColorsAndRowsTheirPadding() {
        let picture = PixelImage(width: 2, height: 2, bytes: Array(1...12))
        var buffer = [UInt8](repeating: 99, count: 24)
        buffer.withUnsafeMutableBytes { picture.writeBGRA(to: $0, bytesPerRow: 12) }
        XCTAssertEqual(
            buffer,
            [3, 2, 1, 255, 6, 5, 4, 255, 99, 99, 99, 99, 9, 8, 7, 255, 12, 11, 10, 255]
                + [99, 99, 99, 99])
    }

    private func decoded(_ bytes: [UInt8], gray: Bool, wide: Bool, row: Int) -> [UInt8] {
        let layout = DecodedLayout(isGray: gray, isWide: wide, bytesPerRow: row)
        return bytes.withUnsafeBytes {
            PixelImage(width: 2, height: 2, decoded: $0, layout: layout).bytes
        }
    }

    func testDecodedPixelsLoseTheirFourthSampleAndPadding() {
        let bytes: [UInt8] = [1, 2, 3, 0, 4, 5, 6, 7, 88, 88, 7, 8, 9, 255, 10, 11, 12, 3]
        XCTAssertEqual(decoded(bytes, gray: false, wide: false, row: 10), Array(1...12))
    }

    func testOfSixteenBitsTheUpperEightStay() {
        let colors = (UInt8(1)...16).flatMap { [UInt8(200), $0] }
        XCTAssertEqual(
            decoded(colors, gray: false, wide: true, row: 16),
            [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15])
        let grays: [UInt8] = [200, 1, 200, 2, 99, 99, 200, 3, 200, 4]
        XCTAssertEqual(
            decoded(grays, gray: true, wide: true, row: 6), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])
    }

    func testGrayBecomesThreeEqualChannels() {
        XCTAssertEqual(
            decoded([1, 2, 3, 4], gray: true, wide: false, row: 2),
            [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])
    }

    func testAPPMOfAnotherKindIsRefused() {
        XCTAssertThrowsError(try PixelImage(ppm: Array("P5 1 1 255\nx".utf8)))
        XCTAssertThrowsError(try PixelImage(ppm: Array("P6 2 2 255\nxyz".utf8)))
        XCTAssertThrowsError(try PixelImage(ppm: []))
    }
}
