import CoreML

/// Where Core ML may compute; it chooses itself among what it is allowed.
enum ComputeUnits: String, CaseIterable, Identifiable, Sendable {
    case all, cpuAndNeuralEngine, cpuAndGPU, cpuOnly

    var id: Self { self }

    var title: String {
        switch self {
        case .all: "All"
        case .cpuAndNeuralEngine: "CPU and Neural Engine"
        case .cpuAndGPU: "CPU and GPU"
        case .cpuOnly: "CPU only"
        }
    }

    var coreML: MLComputeUnits {
        switch self {
        case .all: .all
        case .cpuAndNeuralEngine: .cpuAndNeuralEngine
        case .cpuAndGPU: .cpuAndGPU
        case .cpuOnly: .cpuOnly
        }
    }
}
