import XCTest

@testable import MNV2Core

final class StatisticsTests: XCTestCase {
    func testPercentilesAreMeasurements() throws {
        let statistics = try XCTUnwrap(BenchmarkStatistics((1...100).reversed().map(Double.init)))
        XCTAssertEqual(statistics.count, 100)
        XCTAssertEqual(
            [statistics.min, statistics.p50, statistics.p90, statistics.p99], [1, 50, 90, 99])
    }

    func testFewMeasurements() throws {
        let one = try XCTUnwrap(BenchmarkStatistics([7]))
        XCTAssertEqual([one.min, one.p50, one.p90, one.p99], [7, 7, 7, 7])
        let three = try XCTUnwrap(BenchmarkStatistics([3, 1, 2]))
        XCTAssertEqual([three.min, three.p50, three.p90, three.p99], [1, 2, 3, 3])
        XCTAssertNil(BenchmarkStatistics([]))
    }

    func testColorsAreOpaqueWhereThereIsAClass() {
        let map = LabelMap(width: 3, height: 1, labels: [0, 1, 21])
        XCTAssertEqual(
            Palette.rgba(map, opacity: 128), [0, 0, 0, 0, 230, 159, 0, 128, 230, 159, 0, 128])
    }
}
