import XCTest

@testable import MNV2Core

final class FramingTests: XCTestCase {
    private struct Framings: Decodable {
        let boxes: [[Float]]
        let labels: [UInt8]
        let cases: [Case]

        struct Case: Decodable {
            let width: Int
            let height: Int
            let preprocess: Preprocess
            let edges: [Double]
            let share: Double
            let boxes: [[Double]]
            let digest: String

            enum CodingKeys: String, CodingKey {
                case width, height, preprocess, edges, share, boxes
                case digest = "labels_sha256"
            }
        }
    }

    func testBoxesAndLabelsComeBackToThePhoto() throws {
        let framings = try Fixtures.open().json("framings", as: Framings.self)
        let side = framings.cases[0].preprocess.cropSize
        let map = LabelMap(width: side, height: side, labels: framings.labels)
        for item in framings.cases {
            let framing = Framing(width: item.width, height: item.height, contract: item.preprocess)
            let name = "\(item.width) × \(item.height) \(item.preprocess.resizeRule)"
            assertEqual(framing.edges.list, item.edges, name)
            XCTAssertEqual(framing.share, item.share, accuracy: 1e-12, name)
            for (box, expected) in zip(framings.boxes, item.boxes) {
                assertEqual(framing.toPhoto(Corners(box, at: 0)).list, expected, name)
            }
            XCTAssertEqual(SHA256.hex(framing.toPhoto(map).labels), item.digest, name)
        }
    }

    /// Vision counts from the lower left: a portrait photo's center square.
    func testRegionOfInterest() {
        let contract = Preprocess(
            resizeRule: .shortest, resizeSize: 100, resizeFilter: .bilinear, cropSize: 50,
            channelOrder: .rgb)
        let region = Framing(width: 200, height: 400, contract: contract).regionOfInterest
        assertEqual([region.x, region.y, region.width, region.height], [0.25, 0.375, 0.5, 0.25])
    }
}

extension Framing.Edges {
    var list: [Double] { [left, top, right, bottom] }
}
