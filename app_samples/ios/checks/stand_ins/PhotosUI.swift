// Stand-in; see SwiftUI.swift.
import SwiftUI

public struct PhotosPickerItem: Sendable, Equatable {
    public enum EncodingDisambiguationPolicy { case automatic, current, compatible }
    public func loadTransferable<Value: Sendable>(type: Value.Type) async throws -> Value? {
        fatalError()
    }
}

public enum PHPickerFilter { case images, videos }

public struct PhotosPicker: View {
    public init(
        selection: Binding<PhotosPickerItem?>, matching: PHPickerFilter?,
        preferredItemEncoding: PhotosPickerItem.EncodingDisambiguationPolicy,
        @ViewBuilder label: () -> some View
    ) {}
    public var body: Never { fatalError() }
}
