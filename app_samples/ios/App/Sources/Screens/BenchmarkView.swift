import MNV2Core
import SwiftUI

struct BenchmarkView: View {
    let engine: Engine

    @Environment(Session.self) private var session
    @State private var model = BenchmarkModel()
    @State private var running: Task<Void, Never>?

    var body: some View {
        NavigationStack {
            List {
                Section {
                    UnitsPicker().disabled(model.isRunning)
                    Picker("Runs", selection: $model.count) {
                        ForEach(BenchmarkModel.counts, id: \.self) { Text("\($0)").tag($0) }
                    }
                    .disabled(model.isRunning)
                    Button(model.isRunning ? "Stop" : "Measure") { startOrStop() }
                } footer: {
                    Text("From pixels to results, after a warm-up, without the resize of a photo.")
                }
                if model.isRunning {
                    ProgressView(value: Double(model.done), total: Double(model.count)) {
                        Text("\(model.done) of \(model.count)")
                    }
                }
                if let problem = model.problem { ProblemView(problem: problem) }
                if let startUp = model.startUp {
                    Section("Start") {
                        LabeledContent("Loading", value: milliseconds(startUp.loadMs))
                        LabeledContent("First inference", value: milliseconds(startUp.firstMs))
                    }
                }
                if let statistics = model.statistics { figures(statistics) }
            }
            .navigationTitle("Benchmark")
        }
    }

    @ViewBuilder private func figures(_ statistics: BenchmarkStatistics) -> some View {
        Section("Latency, on \(model.units?.title ?? "")") {
            LabeledContent("Fastest", value: milliseconds(statistics.min))
            LabeledContent("Median", value: milliseconds(statistics.p50))
            LabeledContent("90 % within", value: milliseconds(statistics.p90))
            LabeledContent("99 % within", value: milliseconds(statistics.p99))
        }
        if let thermal = model.thermal {
            Section("Thermal state") {
                LabeledContent("Before", value: thermal.before.title)
                LabeledContent("After", value: thermal.after.title)
            }
        }
    }

    private func startOrStop() {
        if model.isRunning {
            running?.cancel()
        } else {
            running = Task { await model.run(engine, units: session.units) }
        }
    }
}
