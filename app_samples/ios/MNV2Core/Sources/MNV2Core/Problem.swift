import Foundation

/// What can go wrong, in words for a person: what happened, and the next step.
public enum Problem: Error, Sendable, Equatable {
    case modelMissing(file: String)
    case modelChanged(file: String)
    case unreadable(file: String, reason: String)
    case notSupported(String)
    case notAnImage
    case cannotBeResized(from: String, to: String)
    case runtimeRefused(String)
    case unexpectedResult(String)

    public var title: String {
        switch self {
        case .modelMissing: "No model"
        case .modelChanged: "The model was changed"
        case .unreadable: "A file of the model cannot be read"
        case .notSupported: "Not a model for this app"
        case .notAnImage: "Not a picture"
        case .cannotBeResized: "Too long a picture"
        case .runtimeRefused: "Core ML refused the model"
        case .unexpectedResult: "An unexpected result"
        }
    }

    public var advice: String {
        switch self {
        case .modelMissing(let file):
            "model/\(file) is not in the app. Make the app with `mnv2-export sample ios`."
        case .modelChanged(let file):
            "model/\(file) was changed after `mnv2-export sample`; run it with --update."
        case .unreadable(let file, let reason):
            "model/\(file): \(reason)"
        case .notSupported(let reason), .unexpectedResult(let reason):
            reason
        case .notAnImage:
            "The file could not be decoded. Choose a JPEG, HEIC or PNG photo."
        case .cannotBeResized(let before, let after):
            "A photo of \(before) would become \(after) pixels. Crop it first."
        case .runtimeRefused(let reason):
            "\(reason). The package needs the system that its deployment target names, or later."
        }
    }
}

extension Problem: LocalizedError {
    public var errorDescription: String? { "\(title): \(advice)" }
}
