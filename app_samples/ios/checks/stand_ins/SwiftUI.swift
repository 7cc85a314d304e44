// Stand-in; see CoreGraphics.swift. Views take any content, so it finds wrong names and types in
// the app's own code, and not what SwiftUI itself would refuse.
@_exported import CoreGraphics
@_exported import Observation

extension Never: View { public var body: Never { fatalError() } }

@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor @preconcurrency var body: Body { get }
}

@MainActor @preconcurrency
public protocol Scene {
    associatedtype Body: Scene
    @MainActor @preconcurrency var body: Body { get }
}

@MainActor @preconcurrency
public protocol App {
    associatedtype Body: Scene
    @MainActor @preconcurrency var body: Body { get }
    init()
}

extension App { public static func main() {} }
extension Never: Scene {}

extension Optional: View where Wrapped: View {
    public var body: Never { fatalError() }
}

@MainActor
public struct Anything: View, Scene { public var body: Never { fatalError() } }

@resultBuilder
public enum ViewBuilder {
    public static func buildBlock() -> EmptyView { fatalError() }
    public static func buildPartialBlock<Content: View>(first: Content) -> Content { first }
    public static func buildPartialBlock<Before: View, Next: View>(
        accumulated: Before, next: Next
    ) -> Anything { fatalError() }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
    public static func buildEither<Content: View>(first: Content) -> Anything { fatalError() }
    public static func buildEither<Content: View>(second: Content) -> Anything { fatalError() }
}

// MARK: State

@propertyWrapper @dynamicMemberLookup
public struct Binding<Value> {
    public init() {}
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { self }
    public subscript<Member>(
        dynamicMember path: WritableKeyPath<Value, Member>
    ) -> Binding<Member> { fatalError() }
}

@propertyWrapper
public struct State<Value> {
    public init(wrappedValue: Value) {}
    public init() where Value: ExpressibleByNilLiteral {}
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { fatalError() }
}

@propertyWrapper
public struct Environment<Value> {
    public init(_ type: Value.Type) where Value: AnyObject & Observable {}
    public var wrappedValue: Value { fatalError() }
}

@propertyWrapper @dynamicMemberLookup
public struct Bindable<Value: AnyObject & Observable> {
    public init(wrappedValue: Value) {}
    public var wrappedValue: Value { fatalError() }
    public var projectedValue: Bindable<Value> { self }
    public subscript<Member>(
        dynamicMember path: ReferenceWritableKeyPath<Value, Member>
    ) -> Binding<Member> { fatalError() }
}

// MARK: Values

public enum HorizontalAlignment { case leading, center, trailing }
public enum Alignment { case topLeading, center }
public enum Edge { public enum Set { case horizontal, vertical, all } }
public enum AccessibilityChildren { case combine, ignore, contain }
public enum Interpolation { case none, high }

public protocol ShapeStyle {}
public struct Color: ShapeStyle, View {
    public init(red: Double, green: Double, blue: Double) {}
    public static var accentColor: Color { fatalError() }
    public var body: Never { fatalError() }
}
extension ShapeStyle where Self == Color {
    public static var secondary: Color { fatalError() }
    public static var green: Color { fatalError() }
    public static var red: Color { fatalError() }
}
public struct Material: ShapeStyle {}
extension ShapeStyle where Self == Material {
    public static var regularMaterial: Material { fatalError() }
}
public struct Font {
    public static var caption: Font { fatalError() }
    public static var footnote: Font { fatalError() }
    public static var headline: Font { fatalError() }
}
public final class UIImage { public init?(data: Data) { fatalError() } }
public struct GeometryProxy { public var size: CGSize { fatalError() } }

// MARK: Views

public struct WindowGroup: Scene {
    public init(@ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct EmptyView: View {
    public init() {}
    public var body: Never { fatalError() }
}
public struct Text: View {
    public init(_ text: String) {}
    public var body: Never { fatalError() }
}
public struct Image: View {
    public init(systemName: String) {}
    public init(uiImage: UIImage) {}
    public init(decorative image: CGImage, scale: CGFloat) {}
    public func resizable() -> Image { self }
    public func interpolation(_ kind: Interpolation) -> Image { self }
    public var body: Never { fatalError() }
}
public struct Label: View {
    public init(_ title: String, systemImage: String) {}
    public init(@ViewBuilder title: () -> some View, @ViewBuilder icon: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct Button: View {
    public init(_ title: String, action: @escaping @MainActor () -> Void) {}
    public var body: Never { fatalError() }
}
public struct ProgressView: View {
    public init(_ title: String) {}
    public init(value: Double) {}
    public init(value: Double, total: Double, @ViewBuilder label: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct LabeledContent: View {
    public init(_ title: String, value: String) {}
    public init<Format: FormatStyle>(_ title: String, value: Format.FormatInput, format: Format)
    where Format.FormatOutput == String {}
    public init(_ title: String, @ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct Picker: View {
    public init<Value: Hashable>(
        _ title: String, selection: Binding<Value>, @ViewBuilder content: () -> some View
    ) {}
    public var body: Never { fatalError() }
}
public struct ForEach: View {
    public init<Items: RandomAccessCollection>(
        _ items: Items, @ViewBuilder content: @escaping (Items.Element) -> some View
    ) where Items.Element: Identifiable {}
    public init<Items: RandomAccessCollection, ID: Hashable>(
        _ items: Items, id: KeyPath<Items.Element, ID>,
        @ViewBuilder content: @escaping (Items.Element) -> some View
    ) {}
    public var body: Never { fatalError() }
}
public struct List: View {
    public init(@ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct Section: View {
    public init(@ViewBuilder content: () -> some View) {}
    public init(_ title: String, @ViewBuilder content: () -> some View) {}
    public init(@ViewBuilder content: () -> some View, @ViewBuilder footer: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct TabView: View {
    public init(@ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct NavigationStack: View {
    public init(@ViewBuilder root: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct VStack: View {
    public init(alignment: HorizontalAlignment, @ViewBuilder content: () -> some View) {}
    public var body: Never { fatalError() }
}
public struct GeometryReader: View {
    public init(@ViewBuilder content: @escaping (GeometryProxy) -> some View) {}
    public var body: Never { fatalError() }
}
public struct Rectangle: View {
    public init() {}
    public func stroke(_ style: some ShapeStyle, lineWidth: CGFloat) -> Anything { fatalError() }
    public var body: Never { fatalError() }
}
public struct ContentUnavailableView: View {
    public init(
        @ViewBuilder label: () -> some View, @ViewBuilder description: () -> some View,
        @ViewBuilder actions: () -> some View
    ) {}
    public var body: Never { fatalError() }
}

// MARK: Modifiers

extension View {
    public func environment<Value: AnyObject & Observable>(_ value: Value) -> Anything {
        fatalError()
    }
    public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> Anything {
        fatalError()
    }
    public func onChange(
        of value: some Equatable, _ action: @escaping @MainActor () -> Void
    ) -> Anything { fatalError() }
    public func tabItem(@ViewBuilder _ label: () -> some View) -> Anything { fatalError() }
    public func tag(_ value: some Hashable) -> Anything { fatalError() }
    public func navigationTitle(_ title: String) -> Anything { fatalError() }
    public func disabled(_ value: Bool) -> Anything { fatalError() }
    public func font(_ font: Font) -> Anything { fatalError() }
    public func foregroundStyle(_ style: some ShapeStyle) -> Anything { fatalError() }
    public func tint(_ color: Color) -> Anything { fatalError() }
    public func background(_ style: some ShapeStyle) -> Anything { fatalError() }
    public func padding(_ edges: Edge.Set, _ length: CGFloat) -> Anything { fatalError() }
    public func fixedSize() -> Anything { fatalError() }
    public func scaledToFit() -> Anything { fatalError() }
    public func frame(width: CGFloat, height: CGFloat) -> Anything { fatalError() }
    public func offset(x: CGFloat, y: CGFloat) -> Anything { fatalError() }
    public func overlay(
        alignment: Alignment = .center, @ViewBuilder content: () -> some View
    ) -> Anything { fatalError() }
    public func accessibilityElement(children: AccessibilityChildren) -> Anything { fatalError() }
    public func accessibilityHidden(_ hidden: Bool) -> Anything { fatalError() }
    public func accessibilityLabel(_ label: String) -> Anything { fatalError() }
}
