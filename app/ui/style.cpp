#include "app/ui/style.h"

#include <algorithm>

#include <QPainter>
#include <QPainterPath>
#include <QPushButton>
#include <QStyleFactory>
#include <QStyleOption>

#include "app/ui/theme.h"

namespace pillarbox::ui {

namespace {

constexpr qreal kRadius = 6;

class Painting {
 public:
  explicit Painting(QPainter* painter) : m_painter(painter) {
    m_painter->save();
    m_painter->setRenderHint(QPainter::Antialiasing);
  }
  ~Painting() { m_painter->restore(); }
  Painting(const Painting&) = delete;
  Painting& operator=(const Painting&) = delete;

 private:
  QPainter* m_painter;
};

void roundRect(QPainter* painter, const QRectF& rect, const QColor& fill, const QColor& line,
               qreal radius = kRadius, qreal width = 1) {
  painter->setBrush(fill.isValid() ? QBrush(fill) : QBrush(Qt::NoBrush));
  painter->setPen(line.isValid() ? QPen(line, width) : QPen(Qt::NoPen));
  const qreal inset = line.isValid() ? width / 2 : 0;
  painter->drawRoundedRect(rect.adjusted(inset, inset, -inset, -inset), radius, radius);
}

void chevron(QPainter* painter, const QRectF& rect, bool up, const QColor& color) {
  const qreal w = 4;
  const qreal h = up ? -2.0 : 2.0;
  const QPointF c = rect.center();
  painter->setPen(QPen(color, 1.6, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
  painter->setBrush(Qt::NoBrush);
  painter->drawPolyline(QPolygonF{c + QPointF(-w, -h), c + QPointF(0, h), c + QPointF(w, -h)});
}

bool isPrimary(const QStyleOption* option, const QWidget* widget) {
  if (widget && widget->property("primary").toBool()) return true;
  const auto* button = qstyleoption_cast<const QStyleOptionButton*>(option);
  return button && (button->features & QStyleOptionButton::DefaultButton);
}

}  // namespace

Style::Style() : QProxyStyle(QStyleFactory::create(QStringLiteral("Fusion"))) {}

void Style::drawPrimitive(PrimitiveElement element, const QStyleOption* option, QPainter* painter,
                          const QWidget* widget) const {
  const ThemeColors& c = colors();
  const bool enabled = option->state & State_Enabled;
  const bool hover = enabled && (option->state & State_MouseOver);
  const bool sunken = option->state & (State_Sunken | State_On);
  switch (element) {
    case PE_PanelButtonCommand: {
      const Painting scope(painter);
      if (isPrimary(option, widget) && enabled) {
        roundRect(painter, option->rect, hover || sunken ? c.accentHover : c.accent, QColor());
      } else {
        QColor fill = c.surface;
        if (sunken) fill = c.sunken;
        if (hover && !sunken) fill = c.accentSoft;
        roundRect(painter, option->rect, fill, enabled ? c.control : c.border);
      }
      if (option->state & State_HasFocus && option->state & State_KeyboardFocusChange) {
        QRectF ring = QRectF(option->rect).adjusted(3, 3, -3, -3);
        roundRect(painter, ring, QColor(),
                  isPrimary(option, widget) && enabled ? c.accentText : c.accent, kRadius - 2, 1.6);
      }
      return;
    }
    case PE_PanelButtonTool: {
      if (!hover && !sunken && !(option->state & State_HasFocus)) return;
      const Painting scope(painter);
      if (sunken) {
        roundRect(painter, option->rect, c.accentSoft, QColor());
      } else if (hover) {
        roundRect(painter, option->rect, c.sunken, QColor());
      }
      if (option->state & State_HasFocus && option->state & State_KeyboardFocusChange) {
        roundRect(painter, option->rect, QColor(), c.accent, kRadius, 2);
      }
      return;
    }
    case PE_FrameFocusRect: {
      if (!(option->state & State_KeyboardFocusChange)) return;
      if (qobject_cast<const QPushButton*>(widget)) return;  // drawn with the panel
      const Painting scope(painter);
      roundRect(painter, option->rect, QColor(), c.accent, 4, 2);
      return;
    }
    case PE_PanelLineEdit: {
      const auto* frame = qstyleoption_cast<const QStyleOptionFrame*>(option);
      if (frame && frame->lineWidth == 0) return;  // inside another control
      [[fallthrough]];
    }
    case PE_FrameLineEdit: {
      const Painting scope(painter);
      const bool focus = option->state & State_HasFocus;
      const bool readOnly = option->state & State_ReadOnly;
      roundRect(painter, option->rect, readOnly || !enabled ? c.window : c.surface,
                focus ? c.accent : (enabled ? c.control : c.border), kRadius, focus ? 2 : 1);
      return;
    }
    case PE_Frame: {
      const Painting scope(painter);
      const bool focus = widget && widget->hasFocus() && (option->state & State_Enabled);
      roundRect(painter, option->rect, QColor(), focus ? c.accent : c.border, 3, 1);
      return;
    }
    case PE_IndicatorCheckBox: {
      const Painting scope(painter);
      const bool on = option->state & State_On;
      QRectF box = option->rect;
      roundRect(painter, box, on ? (enabled ? c.accent : c.control) : c.surface,
                on ? QColor() : c.control, 4);
      if (on) {
        painter->setPen(QPen(c.accentText, 1.8, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
        painter->setBrush(Qt::NoBrush);
        const auto at = [&](double x, double y) {
          return QPointF(box.left() + box.width() * x, box.top() + box.height() * y);
        };
        painter->drawPolyline(QPolygonF{at(0.26, 0.53), at(0.44, 0.70), at(0.75, 0.34)});
      }
      return;
    }
    case PE_PanelMenu:
    case PE_FrameMenu: {
      painter->fillRect(option->rect, c.surface);
      painter->setPen(c.border);
      painter->setBrush(Qt::NoBrush);
      painter->drawRect(option->rect.adjusted(0, 0, -1, -1));
      return;
    }
    case PE_PanelStatusBar:
    case PE_FrameStatusBarItem:
      return;
    default:
      QProxyStyle::drawPrimitive(element, option, painter, widget);
  }
}

void Style::drawControl(ControlElement element, const QStyleOption* option, QPainter* painter,
                        const QWidget* widget) const {
  const ThemeColors& c = colors();
  switch (element) {
    case CE_PushButtonLabel: {
      const auto* button = qstyleoption_cast<const QStyleOptionButton*>(option);
      if (!button) break;
      QStyleOptionButton copy(*button);
      copy.state &= ~(State_Sunken | State_On);  // no shift of the text
      if (isPrimary(option, widget) && (option->state & State_Enabled)) {
        copy.palette.setColor(QPalette::ButtonText, c.accentText);
        if (!copy.icon.isNull()) {
          copy.icon = QIcon(copy.icon.pixmap(copy.iconSize, painter->device()->devicePixelRatio(),
                                             QIcon::Selected));
        }
      }
      QProxyStyle::drawControl(element, &copy, painter, widget);
      return;
    }
    case CE_ProgressBar: {
      const auto* bar = qstyleoption_cast<const QStyleOptionProgressBar*>(option);
      if (!bar) break;
      const Painting scope(painter);
      const QRectF groove = bar->rect;
      const qreal radius = std::min<qreal>(groove.height() / 2, 4);
      roundRect(painter, groove, c.sunken, QColor(), radius);
      const double range = std::max(1, bar->maximum - bar->minimum);
      const double part = std::clamp((bar->progress - bar->minimum) / range, 0.0, 1.0);
      if (part > 0) {
        QPainterPath clip;
        clip.addRoundedRect(groove, radius, radius);
        painter->setClipPath(clip);
        QRectF chunk = groove;
        chunk.setWidth(std::max(4.0, groove.width() * part));
        if (bar->direction == Qt::RightToLeft) chunk.moveRight(groove.right());
        QColor fill = c.accent;
        if (widget && widget->property("quiet").toBool()) {
          fill = c.dark ? c.control : QColor(0x8f, 0xae, 0xdd);
        }
        roundRect(painter, chunk, fill, QColor(), radius);
      }
      return;
    }
    case CE_HeaderEmptyArea:
    case CE_HeaderSection: {
      painter->fillRect(option->rect, c.window);
      painter->setPen(c.border);
      painter->drawLine(option->rect.bottomLeft(), option->rect.bottomRight());
      return;
    }
    case CE_MenuBarEmptyArea:
      painter->fillRect(option->rect, c.window);
      return;
    case CE_MenuBarItem: {
      const auto* item = qstyleoption_cast<const QStyleOptionMenuItem*>(option);
      if (!item) break;
      painter->fillRect(option->rect, c.window);
      if (option->state & State_Selected) {
        const Painting scope(painter);
        roundRect(painter, QRectF(option->rect).adjusted(1, 2, -1, -2), c.sunken, QColor(), 4);
      }
      int flags = Qt::AlignCenter | Qt::TextShowMnemonic | Qt::TextSingleLine;
      if (!proxy()->styleHint(SH_UnderlineShortcut, option, widget)) {
        flags = (flags & ~Qt::TextShowMnemonic) | Qt::TextHideMnemonic;
      }
      drawItemText(painter, option->rect, flags, option->palette, option->state & State_Enabled,
                   item->text, QPalette::WindowText);
      return;
    }
    default:
      break;
  }
  QProxyStyle::drawControl(element, option, painter, widget);
}

void Style::drawComplexControl(ComplexControl control, const QStyleOptionComplex* option,
                               QPainter* painter, const QWidget* widget) const {
  const ThemeColors& c = colors();
  const bool enabled = option->state & State_Enabled;
  if (control == CC_ScrollBar) {
    const auto* bar = qstyleoption_cast<const QStyleOptionSlider*>(option);
    if (bar) {
      const Painting scope(painter);
      if (bar->maximum > bar->minimum) {
        const QRectF handle =
            proxy()->subControlRect(CC_ScrollBar, bar, SC_ScrollBarSlider, widget);
        QColor fill = c.control;
        const bool active = (bar->activeSubControls & SC_ScrollBarSlider) &&
                            (bar->state & (State_MouseOver | State_Sunken));
        if (!active) fill.setAlphaF(0.55F);
        const qreal thin = 2.5;
        const QRectF slim = bar->orientation == Qt::Horizontal
                                ? handle.adjusted(1, thin, -1, -thin)
                                : handle.adjusted(thin, 1, -thin, -1);
        roundRect(painter, slim, fill, QColor(), 3);
      }
      return;
    }
  }
  if (control == CC_ComboBox) {
    const auto* combo = qstyleoption_cast<const QStyleOptionComboBox*>(option);
    if (combo && !combo->editable) {
      const Painting scope(painter);
      const bool focus = combo->state & State_HasFocus;
      const bool hover = enabled && (combo->state & State_MouseOver);
      roundRect(painter, combo->rect, hover ? c.accentSoft : c.surface,
                focus ? c.accent : (enabled ? c.control : c.border), kRadius, focus ? 2 : 1);
      chevron(painter, subControlRect(CC_ComboBox, combo, SC_ComboBoxArrow, widget), false,
              enabled ? c.text : c.muted);
      return;
    }
  }
  if (control == CC_SpinBox) {
    const auto* spin = qstyleoption_cast<const QStyleOptionSpinBox*>(option);
    if (spin) {
      const Painting scope(painter);
      const bool focus = spin->state & State_HasFocus;
      roundRect(painter, spin->rect, c.surface, focus ? c.accent : c.control, kRadius,
                focus ? 2 : 1);
      chevron(painter, subControlRect(CC_SpinBox, spin, SC_SpinBoxUp, widget), true,
              spin->stepEnabled & QAbstractSpinBox::StepUpEnabled ? c.text : c.border);
      chevron(painter, subControlRect(CC_SpinBox, spin, SC_SpinBoxDown, widget), false,
              spin->stepEnabled & QAbstractSpinBox::StepDownEnabled ? c.text : c.border);
      return;
    }
  }
  QProxyStyle::drawComplexControl(control, option, painter, widget);
}

QRect Style::subControlRect(ComplexControl control, const QStyleOptionComplex* option,
                            SubControl subControl, const QWidget* widget) const {
  if (control == CC_ScrollBar) {
    const auto* bar = qstyleoption_cast<const QStyleOptionSlider*>(option);
    if (bar) {
      const bool horizontal = bar->orientation == Qt::Horizontal;
      const int length = horizontal ? bar->rect.width() : bar->rect.height();
      int handle = length;
      if (bar->maximum > bar->minimum) {
        const qint64 range = qint64{bar->maximum} - bar->minimum;
        handle = std::clamp(static_cast<int>(qint64{length} * bar->pageStep /
                                             std::max<qint64>(1, range + bar->pageStep)),
                            28, std::max(28, length));
      }
      const int start = sliderPositionFromValue(bar->minimum, bar->maximum, bar->sliderPosition,
                                                std::max(0, length - handle), bar->upsideDown);
      const auto span = [&](int from, int size) {
        return horizontal ? QRect(bar->rect.x() + from, bar->rect.y(), size, bar->rect.height())
                          : QRect(bar->rect.x(), bar->rect.y() + from, bar->rect.width(), size);
      };
      switch (subControl) {
        case SC_ScrollBarSlider:
          return span(start, handle);
        case SC_ScrollBarSubPage:
          return span(0, start);
        case SC_ScrollBarAddPage:
          return span(start + handle, length - start - handle);
        case SC_ScrollBarGroove:
          return bar->rect;
        default:
          return {};
      }
    }
  }
  QRect rect = QProxyStyle::subControlRect(control, option, subControl, widget);
  if (control == CC_ComboBox && subControl == SC_ComboBoxEditField) rect.adjust(6, 0, 0, 0);
  return rect;
}

QRect Style::subElementRect(SubElement element, const QStyleOption* option,
                            const QWidget* widget) const {
  QRect rect = QProxyStyle::subElementRect(element, option, widget);
  if (element == SE_LineEditContents) rect.adjust(5, 0, -5, 0);
  return rect;
}

QSize Style::sizeFromContents(ContentsType type, const QStyleOption* option, const QSize& size,
                              const QWidget* widget) const {
  QSize result = QProxyStyle::sizeFromContents(type, option, size, widget);
  switch (type) {
    case CT_PushButton:
      result.setWidth(std::max(result.width() + 12, 80));
      result.setHeight(std::max(result.height(), option->fontMetrics.height() + 14));
      break;
    case CT_LineEdit:
    case CT_ComboBox:
    case CT_SpinBox:
      result.rwidth() += 12;
      result.setHeight(std::max(result.height(), option->fontMetrics.height() + 14));
      break;
    case CT_MenuItem: {
      const auto* item = qstyleoption_cast<const QStyleOptionMenuItem*>(option);
      if (item && item->menuItemType != QStyleOptionMenuItem::Separator) {
        result.rheight() = std::max(result.height(), option->fontMetrics.height() + 10);
        result.rwidth() += 12;
      }
      break;
    }
    case CT_MenuBarItem:
      result += QSize(6, 4);
      break;
    case CT_HeaderSection:
      result.rheight() = option->fontMetrics.height() + 2 * proxy()->pixelMetric(PM_HeaderMargin);
      break;
    default:
      break;
  }
  return result;
}

int Style::pixelMetric(PixelMetric metric, const QStyleOption* option,
                       const QWidget* widget) const {
  switch (metric) {
    case PM_ScrollBarExtent:
      return 11;
    case PM_ButtonShiftHorizontal:
    case PM_ButtonShiftVertical:
      return 0;
    case PM_LayoutLeftMargin:
    case PM_LayoutRightMargin:
    case PM_LayoutTopMargin:
    case PM_LayoutBottomMargin:
      return widget && widget->isWindow() ? 18 : 12;
    case PM_LayoutHorizontalSpacing:
    case PM_LayoutVerticalSpacing:
      return 10;
    case PM_IndicatorWidth:
    case PM_IndicatorHeight:
      return 18;
    case PM_SmallIconSize:
    case PM_ButtonIconSize:
      return 18;
    case PM_HeaderMargin:
      return 8;
    case PM_FocusFrameHMargin:  // beside the text of an item in a list or table
      return 6;
    case PM_MenuPanelWidth:
      return 1;
    case PM_MenuVMargin:
      return 4;
    default:
      return QProxyStyle::pixelMetric(metric, option, widget);
  }
}

int Style::styleHint(StyleHint hint, const QStyleOption* option, const QWidget* widget,
                     QStyleHintReturn* data) const {
  switch (hint) {
    case SH_EtchDisabledText:
    case SH_DialogButtonBox_ButtonsHaveIcons:
    case SH_ScrollBar_Transient:
      return 0;
    case SH_ScrollBar_LeftClickAbsolutePosition:
      return 1;
    default:
      return QProxyStyle::styleHint(hint, option, widget, data);
  }
}

}  // namespace pillarbox::ui
