import XCTest

@testable import MNV2Core

final class DecodingTests: XCTestCase {
    private struct Suppression: Decodable {
        let spec: DetectionSpec
        let anchors: Int
        let classes: Int
        let boxes: [Float]
        let scores: [Float]
        let kept: [[Float]]  // score, anchor, class
    }

    private struct Maps: Decodable {
        let shape: [Int]
        let logits: [Float]
        let labels: [UInt8]
        let regions: [[Double]]  // index, share
    }

    private struct Ranking: Decodable {
        let logits: [Float]
        let order: [Int]
        let probabilities: [Double]
    }

    private struct Shares: Decodable {
        let expected: [Float]
        let actual: [Float]
        let share: Double
    }

    func testSuppressionKeepsWhatTheGreedyLoopKeeps() throws {
        let cases = try Fixtures.open().json("suppressions", as: [Suppression].self)
        XCTAssertGreaterThan(cases.map(\.kept.count).reduce(0, +), 100)
        for (index, scene) in cases.enumerated() {
            let found = GreedyNMS.detections(
                scores: Tensor(shape: [scene.anchors, scene.classes], values: scene.scores),
                boxes: Tensor(shape: [scene.anchors, 4], values: scene.boxes), spec: scene.spec)
            let expected = scene.kept.map { kept in
                FoundBox(
                    corners: Corners(scene.boxes, at: Int(kept[1]) * 4), score: kept[0],
                    category: Int(kept[2]))
            }
            XCTAssertEqual(found, expected, "scene \(index)")
        }
    }

    func testLabelMapTakesTheFirstOfEqualsAndRegionsTheirOrder() throws {
        let maps = try Fixtures.open().json("label_maps", as: Maps.self)
        let map = try LabelMap(logits: Tensor(shape: maps.shape, values: maps.logits))
        XCTAssertEqual(map.labels, maps.labels)
        let regions = map.regions(spec: .named(count: maps.shape[0]))
        XCTAssertEqual(regions.map(\.index), maps.regions.map { Int($0[0]) })
        XCTAssertEqual(regions.map(\.share), maps.regions.map { $0[1] })
    }

    func testLabelsThatAreNoClassesAreRefused() {
        for odd: Float in [-1, 3, .nan] {
            let labels = Tensor(shape: [1, 2], values: [0, odd])
            XCTAssertThrowsError(try LabelMap(labels: labels, classes: 3))
        }
    }

    func testLikeliestClassesAndTheirProbabilities() throws {
        for ranking in try Fixtures.open().json("rankings", as: [Ranking].self) {
            let probabilities = Classification.softmax(ranking.logits)
            let spec = Spec.named(count: ranking.logits.count)
            let top = Classification.top(ranking.logits.count, of: probabilities, spec: spec)
            XCTAssertEqual(top.map(\.index), ranking.order)
            assertEqual(top.map(\.probability), ranking.probabilities, accuracy: 1e-14)
        }
    }

    func testDetectionsInCommon() throws {
        for (index, shares) in try Fixtures.open().json("shares", as: [Shares].self).enumerated() {
            let found = SharedDetections(shares.expected, shares.actual)
            let share = found.rows == 0 ? 1 : Double(found.matched) / Double(found.rows)
            XCTAssertEqual(share, shares.share, "case \(index)")
        }
    }

    func testClassesAreFoundByThePackagesLabels() {
        let spec = Spec.named(count: 3, labels: ["crane", "dog", "crane"])
        let named = [(label: "crane (class 2)", probability: 0.7), ("dog", 0.2), ("cat", 0.1)]
        let top = Classification.top(2, of: named, spec: spec)
        XCTAssertEqual(top.map(\.index), [2, 1])
        XCTAssertEqual(top.map(\.label), ["crane", "dog"])
    }

    func testLabelsOfAModelWithoutThem() {
        XCTAssertEqual(Spec.named(count: 3).label(2), "class 2")
    }
}

extension Spec {
    /// A classifier, without labels unless they are given.
    static func named(count: Int, labels: [String] = []) -> Spec {
        Spec(
            task: .classification, classes: count, labels: labels,
            preprocess: Preprocess(
                resizeRule: .stretch, resizeSize: 8, resizeFilter: .bilinear, cropSize: 8,
                channelOrder: .rgb),
            detection: nil)
    }
}
